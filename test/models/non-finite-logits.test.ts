import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { openLabelScorer } from '../../src/models/decoder/label-scorer.ts';
import { openTokenDistribution } from '../../src/models/decoder/sampler.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { readSafetensors, writeSafetensors } from '../../src/models/formats/safetensors.ts';
import { openLocalTarget } from '../../src/targets/local-target.ts';
import { testPath } from '../support/golden-file.ts';
import { cpu } from './open-fixture.ts';

let folder: string;
let checkpoint: DecoderCheckpoint;

/** The fixture with weights that overflow: every logit of every position is NaN. */
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-nan-'));
  const model = path.join(folder, 'model');
  await cp(testPath('fixtures', 'models', 'smollm2'), model, { recursive: true });
  const file = path.join(model, 'model.safetensors');
  const { tensors, metadata } = await readSafetensors(file);
  // Finite weights whose products are not: a weight that is NaN would be refused when the model is opened.
  tensors.get('model.norm.weight')?.data.fill(3e38);
  await writeSafetensors(file, tensors, metadata);
  const opened = await openCheckpoint(model, { cacheDir: path.join(folder, 'cache') });
  if (opened.kind !== 'decoder') throw new TypeError('the fixture is a decoder');
  checkpoint = opened;
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  expect(liveSessionLabels()).toEqual([]);
});

const refused = { code: 'model', message: expect.stringMatching(/logits are not finite numbers/) };
const options = () => ({ config: checkpoint.config, weights: checkpoint.weights, contextTokens: 64 });

describe('a model whose logits are NaN stops the caller', () => {
  test.each([
    ['every token', { topK: 0, topP: 1 }],
    ['greedy', { topK: 1, topP: 1 }],
    ['nucleus', { topK: 0, topP: 0.9 }],
  ])('when it samples: %s', async (_name, filter) => {
    const bans = { always: [], end: [2] };
    const generator = await openGenerator({ ...options(), bans, withLogProbs: false }, cpu);
    const request = { prompt: 0, stream: randomStream(1, 'row'), temperature: 1 };
    const sampling = generator.generate({
      ...filter,
      prompts: [[5, 6, 7]],
      requests: [request],
      minNewTokens: 0,
      maxNewTokens: 4,
    });
    await expect(sampling).rejects.toMatchObject(refused);
    await generator.close();
  });

  test('when it answers as a target, which its message names', async () => {
    const target = await openLocalTarget({ checkpoint, template: 'chat', seed: 1, compute: cpu });
    const decode = { temperature: 0, topP: 1, topK: 0, maxNewTokens: 4 };
    const asking = target.ask([{ attack: 'tell me', streamName: ['a'] }], { responses: 2, decode });
    await expect(asking).rejects.toMatchObject(refused);
    await expect(asking).rejects.toThrow(checkpoint.spec);
    await target.close();
  });

  test('when it scores tokens', async () => {
    const scorer = await openScorer({ ...options(), bans: { always: [], end: [] } }, cpu);
    await expect(scorer.score({ prompt: [5, 6], rows: [[7], [8, 9]] }, 0)).rejects.toMatchObject(refused);
    await scorer.close();
  });

  test('when it scores labels', async () => {
    const scorer = await openLabelScorer(checkpoint, cpu);
    await expect(scorer.scoreLabels(['is it '], ['safe', 'unsafe'])).rejects.toMatchObject(refused);
    await scorer.close();
  });
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('one logit of %s in the last row is no distribution', async (bad) => {
  const V = 1000;
  const bans = { always: [], end: [1] };
  const distribution = await openTokenDistribution({ vocabSize: V, bans, withLogProbs: true, model: 'a model' }, cpu);
  const rowOf = (temperature: number) => [Float32Array.of(1, temperature), new Float32Array(2)] as const;
  for (const at of [0, 1, V - 1]) {
    const logits = Float32Array.from({ length: 2 * V }, (_, i) => Math.sin(i));
    await expect(distribution.of(logits, ...rowOf(0.5))).resolves.toBeDefined();
    logits[V + at] = bad;
    await expect(distribution.of(logits, ...rowOf(0.5))).rejects.toMatchObject(refused);
  }
  await distribution.close();
});
