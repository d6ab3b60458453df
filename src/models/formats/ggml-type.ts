/** The tensor types that Floodgate dequantises, as GGUF numbers them (ggml.h `ggml_type`). */
export type GgmlTypeName =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K';

export interface GgmlType {
  readonly name: GgmlTypeName;
  /** Values in one block; a row holds whole blocks. */
  readonly blockValues: number;
  readonly blockBytes: number;
}

/** `ggml_type` number to layout. Sizes: ggml-common.h, struct `block_*`. */
export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map<number, GgmlType>([
  [0, { name: 'F32', blockValues: 1, blockBytes: 4 }],
  [1, { name: 'F16', blockValues: 1, blockBytes: 2 }],
  [2, { name: 'Q4_0', blockValues: 32, blockBytes: 18 }],
  [3, { name: 'Q4_1', blockValues: 32, blockBytes: 20 }],
  [6, { name: 'Q5_0', blockValues: 32, blockBytes: 22 }],
  [7, { name: 'Q5_1', blockValues: 32, blockBytes: 24 }],
  [8, { name: 'Q8_0', blockValues: 32, blockBytes: 34 }],
  [12, { name: 'Q4_K', blockValues: 256, blockBytes: 144 }],
  [13, { name: 'Q5_K', blockValues: 256, blockBytes: 176 }],
  [14, { name: 'Q6_K', blockValues: 256, blockBytes: 210 }],
  [30, { name: 'BF16', blockValues: 1, blockBytes: 2 }],
]);

const BY_NAME: ReadonlyMap<GgmlTypeName, GgmlType> = new Map([...GGML_TYPES.values()].map((type) => [type.name, type]));

/** The layout of a type by its name. */
export function ggmlType(name: GgmlTypeName): GgmlType {
  return BY_NAME.get(name) as GgmlType;
}
