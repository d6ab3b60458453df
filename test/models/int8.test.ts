import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { measureDivergence } from '../../src/models/decoder/divergence.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import {
  type Int8Store,
  int8Projections,
  openInt8Weights,
  quantiseColumns,
} from '../../src/models/decoder/int8-weights.ts';
import { readGolden, testPath } from '../support/golden-file.ts';

const compute = { device: 'cpu', threads: 1 } as const;
let cacheDir: string;

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-int8-'));
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

test('quantised columns lie within half a step of the weights, in either layout', () => {
  const [inSize, outSize] = [5, 3];
  const values = Float32Array.from({ length: 15 }, (_, i) => Math.sin(i * 1.7) * (i % 3 === 0 ? 100 : 0.01));
  for (const isOutIn of [true, false]) {
    const { weight, scales } = quantiseColumns(values, { inSize, outSize }, isOutIn);
    for (let i = 0; i < inSize; i++) {
      for (let o = 0; o < outSize; o++) {
        const exact = values[isOutIn ? o * inSize + i : i * outSize + o] as number;
        const step = scales[o] as number;
        expect(Math.abs((weight[i * outSize + o] as number) * step - exact)).toBeLessThanOrEqual(0.5001 * step);
      }
    }
  }
});

test('a column of zeros stays zero', () => {
  const { weight, scales } = quantiseColumns(new Float32Array(4), { inSize: 2, outSize: 2 }, true);
  expect([...weight]).toEqual([0, 0, 0, 0]);
  expect([...scales].every(Number.isFinite)).toBe(true);
});

describe.each(['gpt2', 'smollm2'] as const)('%s in int8', (name) => {
  async function open() {
    const checkpoint = await openCheckpoint(testPath('fixtures', 'models', name), { cacheDir });
    if (checkpoint.kind !== 'decoder') throw new Error(`${name} is no decoder`);
    const { config, weights } = checkpoint;
    const store: Int8Store = await openInt8Weights(config, weights);
    return { base: { config, weights, contextTokens: 64 }, store };
  }

  test('keeps the last feed-forward projection and the head in fp32', async () => {
    const { base, store } = await open();
    expect(store.entries.size).toBe(int8Projections(base.config).length);
    for (const module of store.entries.keys()) expect(module).not.toMatch(/down_proj|mlp\.c_proj|lm_head|wte/);
  });

  test('stays near fp32, the same file serving a second opening', async () => {
    const { base, store } = await open();
    const { rows } = await readGolden<{ rows: number[][] }>('models', name);
    expect(await openInt8Weights(base.config, base.weights)).toEqual(store);
    for (const activation of ['per-row', 'per-tensor'] as const) {
      const found = await measureDivergence(base, { ...base, int8: { store, activation } }, rows, compute);
      expect(found.tokens).toBe(rows.reduce((sum, row) => sum + row.length - 1, 0));
      expect(found.klPerToken).toBeGreaterThan(0);
      expect(found.klPerToken).toBeLessThan(0.05);
      expect(found.topAgreement).toBeGreaterThan(0.85);
    }
    const same = await measureDivergence(base, base, rows, compute);
    expect(same.klPerToken).toBe(0);
    expect(same.otherPerplexity).toBe(same.referencePerplexity);
  });

  test('with one scale a row, a sequence does not depend on its batch', async () => {
    const { base, store } = await open();
    const generator = await openGenerator(
      { ...base, int8: { store, activation: 'per-row' }, bans: { always: [0], end: [1] }, withLogProbs: true },
      compute,
    );
    await using _ = { [Symbol.asyncDispose]: () => generator.close() };
    const prompts = [
      [5, 6, 7, 8],
      [9, 4],
    ];
    const sample = (promptOf: readonly number[], first: number) =>
      generator.generate({
        prompts,
        requests: promptOf.map((prompt, i) => ({ prompt, stream: randomStream(1, first + i), temperature: 1.5 })),
        minNewTokens: 2,
        maxNewTokens: 9,
        topK: 0,
        topP: 1,
      });
    const together = await sample([0, 1, 0, 1], 0);
    for (const [i, prompt] of [0, 1, 0, 1].entries())
      expect((await sample([prompt], i))[0]?.tokens).toEqual(together[i]?.tokens);
  });
});
