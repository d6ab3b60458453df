import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createAdamWState } from '../../src/engine/optimizer/adamw.ts';
import { zeroParameters } from '../../src/engine/optimizer/flat-parameters.ts';
import {
  type LatestCheckpoint,
  loadLatestCheckpoint,
  saveCheckpoint,
} from '../../src/learning/checkpoints/checkpoint-folder.ts';
import {
  assertStateBytes,
  loadParameters,
  loadTrainerState,
  MAX_STATE_BYTES,
  saveTrainerState,
} from '../../src/learning/checkpoints/trainer-state.ts';
import { createReplayBuffer } from '../../src/learning/replay/replay-buffer.ts';
import { restoreReplayBuffer, serialiseReplayBuffer } from '../../src/learning/replay/replay-buffer-state.ts';
import { readSafetensors, writeSafetensors } from '../../src/models/formats/safetensors.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-state-'));
});
afterEach(() => rm(folder, { recursive: true }));

const createVector = () => zeroParameters([{ name: 'w', shape: [2], init: 'zeros' }]);
const optimizer = createAdamWState(2);

/** A buffer of attacks with embeddings of `width`, none near another. */
function filledBuffer(entries: number, width: number) {
  const buffer = createReplayBuffer({ capacity: entries, nearEditRatio: null });
  for (let i = 0; i < entries; i++) {
    buffer.insert(
      {
        source: 'fresh',
        tokens: [i, i + 1],
        terminated: true,
        text: `attack ${i}`,
        fluency: -1,
        score: { logS: -i, meanUnsafe: 0.5, responses: 1 },
        addedAtUpdate: 0,
        embedding: new Float32Array(width).fill(1 / (i + 3)),
      },
      ({ score }) => score.logS,
    );
  }
  return buffer;
}

test('a replay buffer above the 32 MiB of a header is saved and loaded, whole', async () => {
  const buffer = filledBuffer(1000, 7000);
  const place = { folder, stage: 'gflownet' };
  const vector = createVector();
  vector.data.set([1, 2]);
  await saveCheckpoint(place, vector, { update: 3, optimizer, extra: { buffer: serialiseReplayBuffer(buffer) } });
  const loaded = createVector();
  const found = await loadLatestCheckpoint(place, loaded);
  expect([...loaded.data]).toEqual([1, 2]);
  expect(found?.state.update).toBe(3);
  const saved = (found as LatestCheckpoint).state.extra as { readonly buffer: unknown };
  const restored = restoreReplayBuffer(saved.buffer);
  expect(restored.size).toBe(1000);
  // As one string: a comparison of 7,000,000 values one by one is slow.
  const isEqual = JSON.stringify(serialiseReplayBuffer(restored)) === JSON.stringify(serialiseReplayBuffer(buffer));
  expect(isEqual).toBe(true);
  const sampled = createVector();
  await loadParameters(path.join(folder, 'gflownet-0000003.safetensors'), sampled);
  expect([...sampled.data]).toEqual([1, 2]);
});

test('the state is a tensor of bytes, and the header holds the digest alone', async () => {
  const file = path.join(folder, 'a.safetensors');
  await saveTrainerState(file, createVector(), { update: 1, optimizer, extra: { text: 'ä\ud800' } });
  const { metadata, bytes } = await readSafetensors(file);
  expect([...metadata.keys()]).toEqual(['floodgate.sha256']);
  expect([...bytes.keys()]).toEqual(['floodgate.trainer']);
  expect((await loadTrainerState(file, createVector())).extra).toEqual({ text: 'ä\ud800' });
});

test('a checkpoint of an earlier version, with its state in the header, is loaded', async () => {
  const file = path.join(folder, 'old.safetensors');
  const zeros = { shape: [2], data: new Float32Array(2) };
  const tensors = new Map([
    ['w', { shape: [2], data: Float32Array.of(1, 2) }],
    ['optimizer.firstMoment', zeros],
    ['optimizer.secondMoment', zeros],
  ]);
  await writeSafetensors(file, tensors, new Map([['floodgate.trainer', '{"update":7,"step":5,"extra":{"a":1}}']]));
  expect(await loadTrainerState(file, createVector())).toMatchObject({ update: 7, extra: { a: 1 } });
});

test('a state above the limit is refused by the writer before the rename, with the limit of the reader', async () => {
  const file = path.join(folder, 'a.safetensors');
  await saveTrainerState(file, createVector(), { update: 1, optimizer, extra: {} });
  const before = await readFile(file);
  const piece = 'x'.repeat(2 ** 25);
  const extra = Array.from({ length: 17 }, () => piece); // above the longest string of V8: JSON.stringify throws
  await expect(saveTrainerState(file, createVector(), { update: 2, optimizer, extra })).rejects.toMatchObject({
    code: 'run',
    message: expect.stringContaining(`at most ${MAX_STATE_BYTES}`),
  });
  expect(await readFile(file)).toEqual(before);
  expect(await readdir(folder)).toEqual(['a.safetensors']);
  expect(() => assertStateBytes(file, MAX_STATE_BYTES)).not.toThrow();
  expect(() => assertStateBytes(file, MAX_STATE_BYTES + 1)).toThrow(/at most/);
});
