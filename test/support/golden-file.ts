import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** A tensor of a golden file: row-major little-endian bytes in base64. */
export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly base64: string;
}

const testFolder = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');

export function testPath(...parts: string[]): string {
  return path.join(testFolder, ...parts);
}

export async function readGolden<T>(room: string, name: string): Promise<T> {
  return JSON.parse(await readFile(testPath('golden', room, `${name}.json`), 'utf8')) as T;
}

function bytesOf(tensor: GoldenTensor): ArrayBuffer {
  const bytes = Buffer.from(tensor.base64, 'base64');
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
}

export function goldenFloat32(tensor: GoldenTensor): Float32Array {
  return new Float32Array(bytesOf(tensor));
}

export function goldenFloat64(tensor: GoldenTensor): Float64Array {
  return new Float64Array(bytesOf(tensor));
}

/** [rows, columns] -> [columns, rows] */
export function transposed<T extends Float32Array | Float64Array>(values: T, rows: number, columns: number): T {
  const result = values.slice() as T;
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = values[r * columns + c] as number;
  return result;
}

/** max |a - b| / max |b| */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const gap = Math.abs((actual[i] as number) - (expected[i] as number));
    difference = Number.isNaN(gap) ? Number.POSITIVE_INFINITY : Math.max(difference, gap);
    largest = Math.max(largest, Math.abs(expected[i] as number));
  }
  return largest === 0 ? difference : difference / largest;
}
