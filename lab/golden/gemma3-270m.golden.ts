import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { randomStream } from '../../src/base/random.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { resolveModel } from '../../src/models/sources/resolve-model.ts';
import { readGolden } from '../../test/support/golden-file.ts';

interface Golden {
  readonly texts: readonly { readonly text: string; readonly ids: number[]; readonly logProbs: number[] }[];
  readonly digests: Record<string, string>;
  readonly origin: { readonly sha256: string };
}

/** Longer than the window of 512 tokens, so that the local layers are masked. */
const CONTEXT_TOKENS = 640;
const TOLERANCE = 1e-3;
const compute = { device: 'cpu', threads: 2 } as const;

let cacheDir: string;
let checkpoint: DecoderCheckpoint;
let golden: Golden;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Seconds of processor time that `work` takes, in all threads. */
async function cpuSeconds(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

const largestGap = (actual: ArrayLike<number>, expected: ArrayLike<number>): number => {
  expect(actual.length).toBe(expected.length);
  return Array.from(expected).reduce((largest, value, t) => Math.max(largest, Math.abs(value - Number(actual[t]))), 0);
};

const modelOptions = () => ({
  config: checkpoint.config,
  weights: checkpoint.weights,
  contextTokens: CONTEXT_TOKENS,
  bans: { always: [], end: checkpoint.tokenizer.endIds },
});

/** Path of a pulled model. A missing one is not fetched, since a test accepts nobody's licence. */
async function cachedModel(name: string): Promise<string> {
  const resolved = await resolveModel(name).catch((error: unknown) => {
    if (error instanceof FloodgateError) throw new Error(`${error.message}; ${error.hint}`, { cause: error });
    throw error;
  });
  return resolved.path;
}

beforeAll(async () => {
  const file = await cachedModel('gemma3-270m');
  golden = await readGolden<Golden>('models', 'gemma3-270m');
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-gemma3-270m-')); // its weights are converted from scratch
  const openDecoder = async (): Promise<void> => {
    const opened = await openCheckpoint(file, { cacheDir });
    if (opened.kind !== 'decoder') throw new TypeError('Gemma 3 is a decoder');
    checkpoint = opened;
  };
  say(`first opening: ${(await cpuSeconds(openDecoder)).toFixed(1)} CPU seconds`);
  say(`second opening: ${(await cpuSeconds(openDecoder)).toFixed(1)} CPU seconds`);
});
afterAll(async () => {
  if (cacheDir !== undefined) await rm(cacheDir, { recursive: true });
});

test('every tensor comes out bit for bit as transformers reads it', async () => {
  expect(checkpoint.sha256).toBe(golden.origin.sha256);
  const { tensors, path: file } = checkpoint.weights;
  const handle = await open(file);
  const digests: Record<string, string> = {};
  for (const [name, { offset, byteLength }] of tensors) {
    const { buffer } = await handle.read(Buffer.alloc(byteLength), 0, byteLength, offset);
    digests[name] = createHash('sha256').update(buffer).digest('hex').slice(0, 16);
  }
  await handle.close();
  expect(digests).toEqual(golden.digests);
  say(`tensors: ${tensors.size} equal`);
});

test('token ids equal those of the sentencepiece library', () => {
  const { tokenizer } = checkpoint;
  for (const { text, ids } of golden.texts) expect(tokenizer.encode(text, { addSpecial: true })).toEqual(ids);
});

test(`log-probs equal those of transformers to ${TOLERANCE}`, async () => {
  const scorer = await openScorer(modelOptions(), compute);
  await using _ = { [Symbol.asyncDispose]: () => scorer.close() };
  for (const { ids, logProbs } of golden.texts) {
    const [scored] = await scorer.score({ prompt: ids.slice(0, 1), rows: [ids.slice(1)] }, 0);
    const gap = largestGap(scored as Float32Array, logProbs);
    say(`${ids.length} tokens: log-probs within ${gap.toExponential(1)}`);
    expect(gap).toBeLessThan(TOLERANCE);
  }
});

test('cached decoding gives the log-probs of the full forward, inside the window and beyond it', async () => {
  const generator = await openGenerator({ ...modelOptions(), withLogProbs: true }, compute);
  const scorer = await openScorer(modelOptions(), compute);
  await using _ = {
    [Symbol.asyncDispose]: async () => {
      await generator.close();
      await scorer.close();
    },
  };
  const long = golden.texts.at(-1)?.ids as number[];
  for (const prompts of [golden.texts.map(({ ids }) => ids.slice(0, 9)), [long.slice(0, 506), long.slice(0, 515)]]) {
    const requests = prompts.map((_prompt, prompt) => ({ prompt, stream: randomStream(5, prompt), temperature: 1 }));
    const sample = (tokens: number) =>
      generator.generate({ prompts, requests, minNewTokens: tokens, maxNewTokens: tokens, topK: 0, topP: 1 });
    const gaps: number[] = [];
    for (const [i, { tokens, logProbs }] of (await sample(10)).entries()) {
      const [scored] = await scorer.score({ prompt: prompts[i] as number[], rows: [tokens] }, 10);
      gaps.push(largestGap(logProbs, scored as Float32Array));
    }
    const step = ((await cpuSeconds(() => sample(10))) - (await cpuSeconds(() => sample(2)))) / 8;
    say(
      `prompts of ${prompts.map(({ length }) => length).join(', ')} tokens: cached decoding within ` +
        `${Math.max(...gaps).toExponential(1)}, ${step.toFixed(2)} CPU seconds a step of ${prompts.length} rows`,
    );
    for (const gap of gaps) expect(gap).toBeLessThan(TOLERANCE);
  }
});
