import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import { type GraphSession, liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { float32Data } from '../../src/engine/runtime/tensors.ts';
import { directWeights } from '../../src/learning/objectives/objective.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { openPolicySession } from '../../src/models/decoder/policy-session.ts';
import { rowFeeds, withFilledPrefix } from '../../src/models/decoder/row-batch.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { testPath } from '../support/golden-file.ts';
import { HAS_WEBGPU, holdWebGpu } from '../support/software-vulkan.ts';
import { largestGap } from './open-fixture.ts';

const CPU: ComputeOptions = { device: 'cpu', threads: 1 };
const WEBGPU: ComputeOptions = { device: 'webgpu', threads: 1 };
const bans = { always: [0], end: [1] };
const SLOW_MS = 240_000;

async function openModel(name: string) {
  const checkpoint = await openCheckpoint(testPath('fixtures', 'models', name), {
    cacheDir: path.join(tmpdir(), 'floodgate-test-weights'),
  });
  if (checkpoint.kind !== 'decoder') throw new TypeError(`${name} is no decoder`);
  return { config: checkpoint.config, weights: checkpoint.weights, contextTokens: 48, bans };
}

type Model = Awaited<ReturnType<typeof openModel>>;

/** Prompts that share nothing, one of a single token: their common prefix is empty. */
const PROMPTS = [[5], [6, 7, 8], [9, 5]];
const ROWS = [
  [4, 9, 12],
  [7, 3],
];

async function generate(model: Model, compute: ComputeOptions) {
  const generator = await openGenerator({ ...model, withLogProbs: true }, compute);
  try {
    return await generator.generate({
      prompts: PROMPTS,
      requests: [0, 1, 2, 0].map((prompt, row) => ({ prompt, stream: randomStream(3, 'row', row), temperature: 1 })),
      minNewTokens: 10,
      maxNewTokens: 10,
      topK: 0,
      topP: 1,
    });
  } finally {
    await generator.close();
  }
}

async function score(model: Model, compute: ComputeOptions): Promise<number[]> {
  const scorer = await openScorer(model, compute);
  const rows = await scorer.score({ prompt: [5], rows: ROWS }, 0).finally(() => scorer.close());
  return rows.flatMap((row) => [...row]);
}

async function step(model: Model, logZ: 'none' | 'through-trunk', compute: ComputeOptions): Promise<Float32Array> {
  const trainable = { kind: 'lora', spec: { rank: 2, alpha: 2, targets: 'all-linear' } } as const;
  const policy = await openPolicySession({ ...model, trainable, logZ }, compute);
  const stream = randomStream(5, 'parameters');
  policy.parameters.data.forEach((_, i, data) => {
    data[i] = 0.1 * stream.nextNormal();
  });
  const weights = directWeights(Float32Array.of(1, -2));
  try {
    await policy.step({ prompt: [5], rows: ROWS }, { minTokens: 1 }, new Float32Array(2), weights);
    return policy.gradient.slice();
  } finally {
    await policy.close();
  }
}

afterAll(() => expect(liveSessionLabels()).toEqual([]));

describe.skipIf(!HAS_WEBGPU)('prompts without a common prefix, on WebGPU', () => {
  let held: GraphSession;
  beforeAll(async () => {
    held = await holdWebGpu();
  });
  afterAll(() => held.close());

  // Gemma 3 has layers that see only a window of tokens, shorter than these rows.
  it.each(['smollm2', 'gemma3'])('%s gives the tokens and log-probs of the CPU', { timeout: SLOW_MS }, async (name) => {
    const model = await openModel(name);
    const [expected, actual] = [await generate(model, CPU), await generate(model, WEBGPU)];
    expect(actual.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    for (const [row, { logProbs }] of expected.entries()) {
      expect(largestGap(actual[row]?.logProbs ?? [], logProbs)).toBeLessThan(1e-4);
    }
    expect(largestGap(await score(model, WEBGPU), await score(model, CPU))).toBeLessThan(1e-4);
  });

  it('a training step has the gradient of the CPU', { timeout: SLOW_MS }, async () => {
    const model = await openModel('smollm2');
    const [expected, actual] = [await step(model, 'none', CPU), await step(model, 'none', WEBGPU)];
    const largest = largestGap(expected, new Float32Array(expected.length));
    expect(largest).toBeGreaterThan(0.01);
    expect(largestGap(actual, expected) / largest).toBeLessThan(1e-4);
  });

  it('a training step with a log Z over the prompt is refused', { timeout: SLOW_MS }, async () => {
    const model = await openModel('smollm2');
    await expect(step(model, 'through-trunk', CPU)).resolves.toBeInstanceOf(Float32Array);
    await expect(step(model, 'through-trunk', WEBGPU)).rejects.toMatchObject({
      code: 'model',
      message: expect.stringContaining('on webgpu: got a meta-prompt of one token, expected two or more'),
      hint: expect.stringContaining('attacker.device: cpu'),
    });
  });
});

describe('the prefix of a batch', () => {
  it('is filled with a token that no row sees, where it is empty and the device needs one', () => {
    const feeds = rowFeeds({ prompt: [5], rows: [[4, 9]] }, { minTokens: 0 });
    const filled = withFilledPrefix(feeds, 'webgpu');
    expect([filled.prefixIds?.dims, filled.rowMask?.dims]).toEqual([[1], [2, 3]]);
    expect([...float32Data(filled.rowMask)]).toEqual([-1e9, 0, -1e9, -1e9, 0, 0].map(Math.fround));
    expect(filled.rowPositions).toBe(feeds.rowPositions);
  });

  it('stays as it is on the CPU, and where it has a token', () => {
    const empty = rowFeeds({ prompt: [5], rows: [[4]] }, { minTokens: 0 });
    const longer = rowFeeds({ prompt: [5, 6], rows: [[4]] }, { minTokens: 0 });
    expect(withFilledPrefix(empty, 'cpu')).toBe(empty);
    expect(withFilledPrefix(longer, 'webgpu')).toBe(longer);
  });
});
