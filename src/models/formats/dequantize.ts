/**
 * GGUF block formats to fp32, bit for bit as the reference computes them (ggml-quants.c and the `gguf` package).
 *
 * Arithmetic runs in float64 and rounds once, when a value is stored. This equals the reference's fp32 arithmetic. A
 * product of an fp16 scale (11 bits), a sub-block scale (at most 7 bits) and a quant (at most 6 bits) is exact in 24
 * bits. One sum of two fp32 numbers, rounded from float64, is the fp32 sum.
 */
import { FloodgateError } from '../../base/errors.ts';
import { bfloatToFloat, bytesToFloat, halfToFloat, readHalf } from './half-float.ts';

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

/** Writes the values of the one block that starts at `at`. */
type BlockDecoder = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

/** Values in half a 32-block: byte `i` holds value `i` in its low nibble and value `i + 16` in its high one. */
const HALF_BLOCK = 16;

/** The fifth bits of a Q5 block: bit `i` belongs to value `i`. */
function readHighBits(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)
  );
}

const decodeQ4Zero: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  for (let i = 0; i < HALF_BLOCK; i++) {
    const q = bytes[at + 2 + i] as number;
    out[to + i] = d * ((q & 15) - 8);
    out[to + HALF_BLOCK + i] = d * ((q >> 4) - 8);
  }
};

const decodeQ4One: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  const m = readHalf(bytes, at + 2);
  for (let i = 0; i < HALF_BLOCK; i++) {
    const q = bytes[at + 4 + i] as number;
    out[to + i] = d * (q & 15) + m;
    out[to + HALF_BLOCK + i] = d * (q >> 4) + m;
  }
};

const decodeQ5Zero: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  const high = readHighBits(bytes, at + 2);
  for (let i = 0; i < HALF_BLOCK; i++) {
    const q = bytes[at + 6 + i] as number;
    out[to + i] = d * (((q & 15) | (((high >>> i) & 1) << 4)) - 16);
    out[to + HALF_BLOCK + i] = d * (((q >> 4) | (((high >>> (i + HALF_BLOCK)) & 1) << 4)) - 16);
  }
};

const decodeQ5One: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  const m = readHalf(bytes, at + 2);
  const high = readHighBits(bytes, at + 4);
  for (let i = 0; i < HALF_BLOCK; i++) {
    const q = bytes[at + 8 + i] as number;
    out[to + i] = d * ((q & 15) | (((high >>> i) & 1) << 4)) + m;
    out[to + HALF_BLOCK + i] = d * ((q >> 4) | (((high >>> (i + HALF_BLOCK)) & 1) << 4)) + m;
  }
};

const decodeQ8Zero: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = (((bytes[at + 2 + i] as number) << 24) >> 24) * d;
};

/** The 6-bit scale of sub-block `j` of 8 in a Q4_K or Q5_K block whose 12 packed bytes start at `at`. */
function subScale(bytes: Uint8Array, at: number, j: number): number {
  if (j < 4) return (bytes[at + j] as number) & 63;
  return ((bytes[at + j + 4] as number) & 15) | (((bytes[at + j - 4] as number) >> 6) << 4);
}

/** The 6-bit minimum of sub-block `j` of 8. */
function subMinimum(bytes: Uint8Array, at: number, j: number): number {
  if (j < 4) return (bytes[at + j + 4] as number) & 63;
  return ((bytes[at + j + 4] as number) >> 4) | (((bytes[at + j] as number) >> 6) << 4);
}

const decodeQ4K: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  const dMin = readHalf(bytes, at + 2);
  for (let j = 0; j < 8; j++) {
    const scale = d * subScale(bytes, at + 4, j);
    const minimum = dMin * subMinimum(bytes, at + 4, j);
    const low = at + 16 + 32 * (j >> 1);
    const shift = 4 * (j & 1);
    for (let i = 0; i < 32; i++) {
      out[to + 32 * j + i] = scale * (((bytes[low + i] as number) >> shift) & 15) - minimum;
    }
  }
};

const decodeQ5K: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at);
  const dMin = readHalf(bytes, at + 2);
  for (let j = 0; j < 8; j++) {
    const scale = d * subScale(bytes, at + 4, j);
    const minimum = dMin * subMinimum(bytes, at + 4, j);
    const low = at + 48 + 32 * (j >> 1);
    const shift = 4 * (j & 1);
    for (let i = 0; i < 32; i++) {
      const high = ((bytes[at + 16 + i] as number) >> j) & 1;
      out[to + 32 * j + i] = scale * ((((bytes[low + i] as number) >> shift) & 15) | (high << 4)) - minimum;
    }
  }
};

/** Sixteen sub-blocks of 16: group `g` of 32 takes its low nibbles from 64 bytes per half, its high pairs from 32. */
const decodeQ6K: BlockDecoder = (bytes, at, out, to) => {
  const d = readHalf(bytes, at + 208);
  for (let g = 0; g < 8; g++) {
    const half = g >> 2;
    const low = at + 64 * half + 32 * (g & 1);
    const lowShift = 4 * ((g >> 1) & 1);
    const high = at + 128 + 32 * half;
    const highShift = 2 * (g & 3);
    for (let i = 0; i < 32; i++) {
      const scale = d * (((bytes[at + 192 + 2 * g + (i >> 4)] as number) << 24) >> 24);
      const nibble = ((bytes[low + i] as number) >> lowShift) & 15;
      out[to + 32 * g + i] = scale * ((nibble | ((((bytes[high + i] as number) >> highShift) & 3) << 4)) - 32);
    }
  }
};

const BLOCK_DECODERS: Readonly<Record<Exclude<GgmlTypeName, 'F32' | 'F16' | 'BF16'>, BlockDecoder>> = {
  Q4_0: decodeQ4Zero,
  Q4_1: decodeQ4One,
  Q5_0: decodeQ5Zero,
  Q5_1: decodeQ5One,
  Q8_0: decodeQ8Zero,
  Q4_K: decodeQ4K,
  Q5_K: decodeQ5K,
  Q6_K: decodeQ6K,
};

/**
 * Returns the fp32 values of whole blocks of `type`. For `F32` the result may be a view of `bytes`.
 * @throws `format` when `bytes` is not a whole number of blocks.
 */
export function dequantize(type: GgmlType, bytes: Uint8Array): Float32Array {
  if (bytes.length % type.blockBytes !== 0) {
    throw new FloodgateError(
      'format',
      `dequantize ${type.name}: got ${bytes.length} bytes, expected whole blocks of ${type.blockBytes}`,
    );
  }
  switch (type.name) {
    case 'F32':
      return bytesToFloat(bytes);
    case 'F16':
      return halfToFloat(bytes);
    case 'BF16':
      return bfloatToFloat(bytes);
    default: {
      const decode = BLOCK_DECODERS[type.name];
      const blocks = bytes.length / type.blockBytes;
      const values = new Float32Array(blocks * type.blockValues);
      for (let b = 0; b < blocks; b++) decode(bytes, b * type.blockBytes, values, b * type.blockValues);
      return values;
    }
  }
}
