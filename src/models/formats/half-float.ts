/** Value of every fp16 bit pattern: 256 kB that turn a branchy conversion into one load. Made when first used. */
let halfValues: Float32Array | undefined;

function buildHalfValues(): Float32Array {
  const values = new Float32Array(65_536);
  for (let bits = 0; bits < values.length; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) values[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 0x1f) values[bits] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else values[bits] = sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  return values;
}

/** The value of the little-endian fp16 number at `offset`, exactly. */
export function readHalf(bytes: Uint8Array, offset: number): number {
  halfValues ??= buildHalfValues();
  return halfValues[(bytes[offset] as number) | ((bytes[offset + 1] as number) << 8)] as number;
}

/** The values of little-endian fp16 numbers, exactly. */
export function halfToFloat(bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length >> 1);
  for (let i = 0; i < values.length; i++) values[i] = readHalf(bytes, 2 * i);
  return values;
}

/** The values of little-endian bf16 numbers, exactly: the upper halves of fp32 numbers. */
export function bfloatToFloat(bytes: Uint8Array): Float32Array {
  const bits = new Uint32Array(bytes.length >> 1);
  for (let i = 0; i < bits.length; i++) {
    bits[i] = (((bytes[2 * i] as number) << 16) | ((bytes[2 * i + 1] as number) << 24)) >>> 0;
  }
  return new Float32Array(bits.buffer);
}

/** Little-endian fp32 bytes as values; a view where alignment allows, else a copy. */
export function bytesToFloat(bytes: Uint8Array): Float32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
}
