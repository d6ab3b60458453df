/** The bytes of GGUF's grammar, little-endian; nothing is checked, so every field may lie. */

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
}

/** A length and that many bytes of UTF-8. */
export function ggufText(value: string): Buffer {
  return Buffer.concat([u64(BigInt(Buffer.byteLength(value))), Buffer.from(value)]);
}

const U32 = 4;
const F32 = 6;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
const U64 = 10;

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

/** A metadata value with its type: whole numbers as u32, other numbers as f32, bigints as u64, lists of one type. */
export type WrittenValue = string | number | bigint | boolean | readonly WrittenValue[];

export function ggufValue(value: WrittenValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([u32(STRING), ggufText(value)]);
  if (typeof value === 'bigint') return Buffer.concat([u32(U64), u64(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(BOOL), Buffer.of(value ? 1 : 0)]);
  if (typeof value === 'number') {
    const isWhole = Number.isInteger(value) && value >= 0 && value < 2 ** 32;
    return Buffer.concat(isWhole ? [u32(U32), u32(value)] : [u32(F32), f32(value)]);
  }
  const items = value.map(ggufValue);
  const type = items[0]?.subarray(0, 4) ?? u32(U32);
  return Buffer.concat([u32(ARRAY), type, u64(BigInt(items.length)), ...items.map((item) => item.subarray(4))]);
}

/** A tensor as it is written. `shape` is row-major; `data` follows the header. */
export interface WrittenTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** ggml's number of the type. */
  readonly type: number;
  readonly data: Buffer;
}

const ALIGNMENT = 32;
const aligned = (size: number): number => Math.ceil(size / ALIGNMENT) * ALIGNMENT;

/** A whole file of version 3. */
export function writeGguf(
  metadata: readonly (readonly [string, WrittenValue])[],
  tensors: readonly WrittenTensor[],
): Buffer {
  let offset = 0;
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  for (const { name, shape, type, data: bytes } of tensors) {
    const sizes = shape.toReversed().map((size) => u64(BigInt(size)));
    infos.push(Buffer.concat([ggufText(name), u32(shape.length), ...sizes, u32(type), u64(BigInt(offset))]));
    data.push(Buffer.concat([bytes, Buffer.alloc(aligned(bytes.length) - bytes.length)]));
    offset += aligned(bytes.length);
  }
  const entries = metadata.map(([key, value]) => Buffer.concat([ggufText(key), ggufValue(value)]));
  const head = [Buffer.from('GGUF'), u32(3), u64(BigInt(tensors.length)), u64(BigInt(metadata.length))];
  const header = Buffer.concat([...head, ...entries, ...infos]);
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length), ...data]);
}
