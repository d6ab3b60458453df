import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type DecoderCheckpoint, openCheckpoint, truncateLayers } from '../../src/models/checkpoint/checkpoint.ts';
import { openInt8Decoder } from '../../src/models/decoder/int8-decoder.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { readGolden, testPath } from '../support/golden-file.ts';

interface Golden {
  readonly ids: number[];
  readonly logProbs: Readonly<Record<string, number[]>>;
  readonly wholeLogProbs: Readonly<Record<string, number[]>>;
}

const compute = { device: 'cpu', threads: 1 } as const;
let cacheDir: string;
let golden: Golden;

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-truncated-'));
  golden = await readGolden<Golden>('models', 'truncated-layers');
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

async function openFixture(name: string): Promise<DecoderCheckpoint> {
  const checkpoint = await openCheckpoint(testPath('fixtures', 'models', name), { cacheDir });
  if (checkpoint.kind !== 'decoder') throw new TypeError(`${name} is no decoder`);
  return checkpoint;
}

/** log p of each of the golden ids but the first. */
async function score(checkpoint: DecoderCheckpoint, int8 = false): Promise<number[]> {
  const { config, weights } = checkpoint;
  const [first, ...row] = golden.ids;
  // Quantised as a whole: a shortened model reads the beginning of the same file.
  const whole = { ...config, layers: 2 };
  const quantised = int8 ? { int8: await openInt8Decoder({ config: whole, weights }, [golden.ids], compute) } : {};
  const scorer = await openScorer(
    { config, weights, contextTokens: 16, bans: { always: [], end: [] }, ...quantised },
    compute,
  );
  try {
    const [scores] = await scorer.score({ prompt: [first as number], rows: [row] }, 0);
    return [...(scores as Float32Array)];
  } finally {
    await scorer.close();
  }
}

describe.each(['gpt2', 'smollm2', 'qwen2', 'qwen3'])('%s without its last layer', (name) => {
  test('is what transformers makes of it, and not the whole model', async () => {
    const whole = await openFixture(name);
    const shortened = truncateLayers(whole, 1);
    const close = (values: readonly number[] = []) => values.map((value) => expect.closeTo(value, 4));
    expect(await score(shortened)).toEqual(close(golden.logProbs[name]));
    expect(await score(whole)).toEqual(close(golden.wholeLogProbs[name]));
    expect(golden.logProbs[name]).not.toEqual(close(golden.wholeLogProbs[name]));
    expect(shortened.weights.path).toBe(whole.weights.path);
  });

  test('in int8 it stays near itself', async () => {
    const shortened = truncateLayers(await openFixture(name), 1);
    const [exact, coarse] = [await score(shortened), await score(shortened, true)];
    for (const [i, value] of exact.entries()) expect(Math.abs((coarse[i] as number) - value)).toBeLessThan(0.1);
    expect(coarse).not.toEqual(exact);
  });
});

test.each([0, -1, 1.5, 3, Number.NaN])('%f layers of a model of two are refused', async (layers) => {
  const whole = await openFixture('gpt2');
  expect(() => truncateLayers(whole, layers)).toThrow(/expected 1 to 2.*gpt2/);
});
