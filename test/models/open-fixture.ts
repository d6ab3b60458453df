import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import { type EncoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { testPath } from '../support/golden-file.ts';

export const cpu: ComputeOptions = { device: 'cpu', threads: 1 };

/** Keyed by content, so that all test processes may share it and it does not grow. */
const cacheDir = path.join(tmpdir(), 'floodgate-test-weights');

/** An encoder from a folder. */
export async function openEncoderFolder(folder: string): Promise<EncoderCheckpoint> {
  const checkpoint = await openCheckpoint(folder, { cacheDir });
  if (checkpoint.kind !== 'encoder') throw new TypeError(`${folder} is no encoder`);
  return checkpoint;
}

export function openEncoderFixture(name: string): Promise<EncoderCheckpoint> {
  return openEncoderFolder(testPath('fixtures', 'models', name));
}

/** max |actual - expected|; Infinity where the lengths differ or a number is NaN. */
export function largestGap(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const gap = Math.abs((actual[i] as number) - (expected[i] as number));
    if (Number.isNaN(gap)) return Infinity;
    largest = Math.max(largest, gap);
  }
  return largest;
}
