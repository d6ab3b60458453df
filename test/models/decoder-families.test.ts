import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { liveSessionLabels, openSession } from '../../src/engine/runtime/session.ts';
import { openSessionCount } from '../../src/engine/runtime/session-pool.ts';
import { float32Data, int64Tensor } from '../../src/engine/runtime/tensors.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import {
  type GenerateOptions,
  type Generator,
  type GeneratorOptions,
  openGenerator,
} from '../../src/models/decoder/generator.ts';
import { buildPrefillGraph } from '../../src/models/decoder/inference-graphs.ts';
import { offSpec, switchedOff } from '../../src/models/decoder/lora.ts';
import { streamFeeds } from '../../src/models/decoder/row-batch.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { type GoldenTensor, goldenFloat32, readGolden, testPath } from '../support/golden-file.ts';

const FAMILIES = [
  'gpt2',
  'gpt2-hub',
  'llama-untied',
  'llama-tied',
  'llama-linear',
  'llama-llama3',
  'llama-yarn',
  'qwen2',
  'qwen3',
  'smollm2',
  'gemma3',
  'gemma3-hub',
] as const;
const compute = { device: 'cpu', threads: 2 } as const;
const CONTEXT = 64;
let cacheDir: string;

interface GoldenDecoder {
  readonly rows: number[][];
  readonly logits: GoldenTensor;
}

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-families-'));
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

async function openFixture(name: string): Promise<DecoderCheckpoint> {
  const checkpoint = await openCheckpoint(testPath('fixtures', 'models', name), { cacheDir });
  if (checkpoint.kind !== 'decoder') throw new Error(`${name} is not a decoder`);
  return checkpoint;
}

function modelOptions({ config, weights }: DecoderCheckpoint) {
  return { config, weights, contextTokens: CONTEXT };
}

describe.each(FAMILIES)('%s', (name) => {
  test('logits equal those of float64 PyTorch to 1e-4, ragged and padded', async () => {
    const checkpoint = await openFixture(name);
    const golden = await readGolden<GoldenDecoder>('models', name);
    await using session = await openSession(buildPrefillGraph(modelOptions(checkpoint)), {
      ...compute,
      label: name,
      weightFolder: path.dirname(checkpoint.weights.path),
    });
    const expected = goldenFloat32(golden.logits);
    const V = checkpoint.config.vocabSize;
    // Each golden row has its own first token: rows are run alone, and the longest once more beside a short, padded one.
    let start = 0;
    for (const row of golden.rows) {
      const streams = [row.slice(1), row.slice(1, 3)];
      const wanted = row.slice(1).map((_, t) => t);
      const outputs = await session.run({
        ...streamFeeds([row[0] as number, 0], streams),
        wanted: int64Tensor(wanted, [wanted.length]),
      });
      const logits = float32Data(outputs.logits);
      const wantedLogits = expected.subarray((start + 1) * V, (start + row.length) * V);
      let worst = 0;
      for (let i = 0; i < logits.length; i++)
        worst = Math.max(worst, Math.abs((logits[i] as number) - (wantedLogits[i] as number)));
      expect(logits.length).toBe(wantedLogits.length);
      expect(worst).toBeLessThan(1e-4);
      start += row.length;
    }
  });

  test('cached decoding gives the log-probs of the full forward, and batching changes nothing', async () => {
    const checkpoint = await openFixture(name);
    const golden = await readGolden<GoldenDecoder>('models', name);
    const bans = { always: [0], end: [1] };
    const generator = await openGenerator({ ...modelOptions(checkpoint), bans, withLogProbs: true }, compute);
    const scorer = await openScorer({ ...modelOptions(checkpoint), bans }, compute);
    await using _ = {
      [Symbol.asyncDispose]: async () => {
        await generator.close();
        await scorer.close();
      },
    };
    const prompts = golden.rows.map((row) => row.slice(0, 7)); // ragged: 7, 7 and 5 tokens
    const together = await sample(generator, prompts, [0, 1, 2, 0, 1, 2, 2]);
    for (const [i, prompt] of [0, 1, 2, 0, 1, 2, 2].entries()) {
      const { tokens, logProbs } = together[i] as (typeof together)[number];
      expect(tokens.length).toBeGreaterThanOrEqual(3);
      expect(tokens).not.toContain(0);
      const [scored] = await scorer.score({ prompt: prompts[prompt] as number[], rows: [tokens] }, 3);
      for (const [t, logProb] of logProbs.entries()) {
        expect(Math.abs(logProb - (scored?.[t] ?? Number.NaN))).toBeLessThan(1e-4);
      }
      const alone = await sample(generator, [prompts[prompt] as number[]], [0], { firstName: i });
      expect(alone[0]?.tokens).toEqual(tokens);
    }
    const ends = new Set(together.map(({ isTerminated, tokens }) => `${isTerminated}:${tokens.length}`));
    expect(ends.size).toBeGreaterThan(1); // rows left the batch at different steps
  });

  test('a graph with adapters that are switched off gives the bits of the frozen model, in the adapted sessions', async () => {
    const checkpoint = await openFixture(name);
    const prompts = (await readGolden<GoldenDecoder>('models', name)).rows.map((row) => row.slice(0, 7));
    const frozen = { ...modelOptions(checkpoint), bans: { always: [0], end: [1] }, withLogProbs: true };
    const trained = { kind: 'lora', spec: { rank: 3, alpha: 6, targets: 'all-linear' } } as const;
    const adaptable = { ...frozen, trained: { kind: 'lora', spec: offSpec('all-linear') } } as const;
    await using plain = await opened(frozen);
    const before = openSessionCount();
    await using adapted = await opened({ ...frozen, trained });
    const added = openSessionCount() - before;
    await using off = await opened(adaptable);
    expect([added, openSessionCount() - before]).toEqual([2, 2]); // for prompts and for single tokens
    const state = switchedOff(checkpoint.config, 'all-linear');
    const expected = await sample(plain.generator, prompts, [0, 1, 2, 2]);
    expect(await sample(off.generator, prompts, [0, 1, 2, 2], { state })).toEqual(expected);
    expect(await sample(adapted.generator, prompts, [0, 1, 2, 2], { state })).toEqual(expected);
  });

  test('calls that overlap give what they give one after the other, and one that fails stops no other', async () => {
    const checkpoint = await openFixture(name);
    const golden = await readGolden<GoldenDecoder>('models', name);
    const options = { ...modelOptions(checkpoint), bans: { always: [0], end: [1] }, withLogProbs: true };
    const generator = await openGenerator(options, compute);
    await using _ = { [Symbol.asyncDispose]: () => generator.close() };
    const prompts = golden.rows.map((row) => row.slice(0, 7));
    const calls = [[0, 1, 2], [2], [1, 0]];
    const expected = [];
    for (const call of calls) expected.push(await sample(generator, prompts, call));
    const tooLong = expect(sample(generator, [new Array(CONTEXT).fill(3)], [0])).rejects.toThrow(/context holds/);
    expect(await Promise.all(calls.map((call) => sample(generator, prompts, call)))).toEqual(expected);
    await tooLong;
  });
});

async function opened(options: GeneratorOptions) {
  const generator = await openGenerator(options, compute);
  return { generator, [Symbol.asyncDispose]: () => generator.close() };
}

interface Sampling {
  readonly firstName?: number;
  readonly state?: GenerateOptions['state'];
}

function sample(
  generator: Generator,
  prompts: number[][],
  promptOf: number[],
  { firstName = 0, state = {} }: Sampling = {},
) {
  return generator.generate({
    state,
    prompts,
    requests: promptOf.map((prompt, i) => ({ prompt, stream: randomStream(7, 'row', firstName + i), temperature: 2 })),
    minNewTokens: 3,
    maxNewTokens: 12,
    topK: 0,
    topP: 1,
  });
}
