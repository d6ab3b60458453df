import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProgressSink } from '../../src/base/progress.ts';
import { randomStream } from '../../src/base/random.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { measureDivergence } from '../../src/models/decoder/divergence.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { openInt8Decoder, quantisedLinears } from '../../src/models/decoder/int8-decoder.ts';
import { balanceChannels, quantiseColumns } from '../../src/models/quantised/quantise.ts';
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
  const balance = Float32Array.of(1, 4, 0.5, 1, 2);
  for (const layout of ['outIn', 'inOut'] as const) {
    const { weight, scales } = quantiseColumns(values, { inSize, outSize, layout }, balance);
    for (let i = 0; i < inSize; i++) {
      for (let o = 0; o < outSize; o++) {
        const factor = balance[i] as number;
        const exact = values[layout === 'outIn' ? o * inSize + i : i * outSize + o] as number;
        const step = (scales[o] as number) * factor;
        expect(Math.abs((weight[i * outSize + o] as number) * step - exact)).toBeLessThanOrEqual(0.5001 * step);
      }
    }
  }
});

test('a column of zeros stays zero', () => {
  const sizes = { inSize: 2, outSize: 2, layout: 'outIn' } as const;
  const { weight, scales } = quantiseColumns(new Float32Array(4), sizes, Float32Array.of(1, 1));
  expect([...weight]).toEqual([0, 0, 0, 0]);
  expect([...scales].every(Number.isFinite)).toBe(true);
});

test('an outlier channel is made smaller, in powers of two', () => {
  expect([...balanceChannels(Float32Array.of(1, 64, 1, 1), Float32Array.of(1, 1, 1, 4))]).toEqual([1, 0.125, 1, 2]);
});

test('a silent channel, one without weights and a map that was not observed keep finite factors', () => {
  const [inputs, weights] = [Float32Array.of(0, 1, 1), Float32Array.of(1, 1, 0)];
  const factors = [...balanceChannels(inputs, weights)];
  expect(factors.every((factor) => factor > 1e-4 && factor < 1e2)).toBe(true);
  expect([...balanceChannels(new Float32Array(3), weights)]).toEqual([1, 1, 1]);
  expect([...balanceChannels(inputs, new Float32Array(3))]).toEqual([1, 1, 1]);
});

describe.each(['gpt2', 'smollm2'] as const)('%s in int8', (name) => {
  async function open() {
    const checkpoint = await openCheckpoint(testPath('fixtures', 'models', name), { cacheDir });
    if (checkpoint.kind !== 'decoder') throw new Error(`${name} is no decoder`);
    const { config, weights } = checkpoint;
    const { rows } = await readGolden<{ rows: number[][] }>('models', name);
    const int8 = await openInt8Decoder({ config, weights }, rows, compute);
    return { base: { config, weights, contextTokens: 64 }, int8, rows };
  }

  test('has every projection and the head', async () => {
    const { base, int8 } = await open();
    expect([...int8.entries.keys()]).toEqual(quantisedLinears(base.config).map(({ weight }) => weight));
    expect([...int8.entries.keys()].join()).toMatch(/(down_proj|mlp\.c_proj).*(embed_tokens|lm_head|wte)/);
  });

  test('says how far the file is made, and nothing where it is there', async () => {
    const { base, rows } = await open();
    const checkpoint = await openCheckpoint(testPath('fixtures', 'models', name), {
      cacheDir: path.join(cacheDir, name),
    });
    const model = { config: base.config, weights: checkpoint.weights };
    const updates: number[] = [];
    const totals: unknown[] = [];
    const progress: ProgressSink = {
      start: (label, total, unit) => {
        totals.push([label, unit], total);
        return { update: (done) => updates.push(done), finish: () => updates.push(-1) };
      },
    };
    for (let opened = 0; opened < 2; opened++) await openInt8Decoder(model, rows, compute, progress);
    expect(totals).toEqual([['convert weights to int8', 'bytes'], expect.any(Number)]);
    expect(updates).toHaveLength(quantisedLinears(base.config).length + 1);
    expect([updates.at(-1), Math.max(...updates) <= (totals[1] as number)]).toEqual([-1, true]);
  });

  test('removes what an earlier version made of the same weights, and nothing else', async () => {
    const { config, weights } = await openCheckpoint(testPath('fixtures', 'models', name), {
      cacheDir: path.join(cacheDir, `${name} again`),
    }).then((checkpoint) => checkpoint as DecoderCheckpoint);
    const { dir, name: stem } = path.parse(weights.path);
    const [others, later] = [path.join(dir, `other-${stem}-int8-v1.bin`), path.join(dir, `${stem}-int8-v99.bin`)];
    const earlier = path.join(dir, `${stem}-int8-v1.bin`);
    for (const file of [earlier, others, later]) await writeFile(file, 'of another model or version');
    const { path: made } = await openInt8Decoder({ config, weights }, [], compute);
    expect(
      (await readdir(dir))
        .map((file) => path.join(dir, file))
        .filter((file) => /int8-v\d+\.bin$/.test(file))
        .sort(),
    ).toEqual([made, others, later].sort());
  });

  test('stays near fp32, the same file serving a second opening', async () => {
    const { base, int8, rows } = await open();
    expect(await openInt8Decoder(base, [], compute)).toEqual(int8);
    const found = await measureDivergence(base, { ...base, int8 }, rows, compute);
    expect(found.tokens).toBe(rows.reduce((sum, row) => sum + row.length - 1, 0));
    expect(found.klPerToken).toBeGreaterThan(0);
    expect(found.klPerToken).toBeLessThan(0.01);
    expect(found.topAgreement).toBeGreaterThan(0.85);
    const same = await measureDivergence(base, base, rows, compute);
    expect(same.klPerToken).toBe(0);
    expect(same.otherPerplexity).toBe(same.referencePerplexity);
  });

  test('a sequence does not depend on its batch', async () => {
    const { base, int8 } = await open();
    const generator = await openGenerator(
      { ...base, int8, bans: { always: [0], end: [1] }, withLogProbs: true },
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
