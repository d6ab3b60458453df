import { expect, test } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import { dequantize, GGML_TYPES } from '../../../src/models/formats/dequantize.ts';
import { type GoldenTensor, goldenFloat32, readGolden } from '../../support/golden-file.ts';

type Golden = Record<string, { readonly bytes: string; readonly values: GoldenTensor }>;

/** Bit patterns, with every NaN the same one: a NaN's payload is nobody's weight. */
function bitsOf(values: Float32Array): number[] {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return [...values].map((value, i) => (Number.isNaN(value) ? 0x7fc00000 : (bits[i] as number)));
}

test.each([...GGML_TYPES.values()])(
  '$name blocks come out bit for bit as the gguf package reads them',
  async (type) => {
    const golden = (await readGolden<Golden>('formats', 'dequantize'))[type.name];
    if (golden === undefined) throw new Error(`no golden values for ${type.name}`);
    const bytes = Buffer.from(golden.bytes, 'base64');
    const values = dequantize(type, bytes);
    expect(values.length).toBe((bytes.length / type.blockBytes) * type.blockValues);
    expect(bitsOf(values)).toEqual(bitsOf(goldenFloat32(golden.values)));
  },
);

test.each([...GGML_TYPES.values()])('$name refuses a torn block', (type) => {
  const torn = new Uint8Array(type.blockBytes + 1);
  expect(() => dequantize(type, torn)).toThrow(FloodgateError);
});

test('a block may start at any byte of a larger buffer', () => {
  for (const type of GGML_TYPES.values()) {
    const whole = Uint8Array.from({ length: type.blockBytes + 3 }, (_, i) => (i * 37) & 0x3f);
    const shifted = dequantize(type, whole.subarray(3));
    expect(bitsOf(shifted)).toEqual(bitsOf(dequantize(type, whole.slice(3))));
  }
});
