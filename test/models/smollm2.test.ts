import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path, { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { randomStream } from '../../src/base/random.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openGguf } from '../../src/models/checkpoint/gguf-checkpoint.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { readGolden } from '../support/golden-file.ts';
import { modelFixture } from '../support/model-fixture.ts';

interface GoldenTexts {
  readonly texts: readonly { readonly text: string; readonly ids: number[]; readonly logProbs: number[] }[];
}

const compute = { device: 'cpu', threads: 2 } as const;
const bans = { always: [], end: [2] };
let cacheDir: string;
let checkpoint: DecoderCheckpoint;

beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-smollm2-'));
  const opened = await openCheckpoint(await modelFixture('smollm2-135m-instruct'), { cacheDir });
  if (opened.kind !== 'decoder') throw new Error('SmolLM2 is a decoder');
  checkpoint = opened;
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

test("SmolLM2's log-probs equal those of transformers to 1e-3", async () => {
  const { texts } = await readGolden<GoldenTexts>('models', 'smollm2-135m-instruct');
  const { config, weights } = checkpoint;
  const scorer = await openScorer({ config, weights, contextTokens: 128, bans }, compute);
  await using _ = { [Symbol.asyncDispose]: () => scorer.close() };
  expect(texts.length).toBe(3);
  for (const { ids, logProbs } of texts) {
    const [scored] = await scorer.score({ prompt: ids.slice(0, 1), rows: [ids.slice(1)] }, 0);
    expect(scored?.length).toBe(logProbs.length);
    for (const [t, logProb] of logProbs.entries())
      expect(Math.abs((scored?.[t] ?? Number.NaN) - logProb)).toBeLessThan(1e-3);
  }
});

test('cached decoding of SmolLM2 gives the log-probs of its full forward', async () => {
  const { texts } = await readGolden<GoldenTexts>('models', 'smollm2-135m-instruct');
  const { config, weights } = checkpoint;
  const options = { config, weights, contextTokens: 128, bans };
  const generator = await openGenerator({ ...options, withLogProbs: true }, compute);
  const scorer = await openScorer(options, compute);
  await using _ = {
    [Symbol.asyncDispose]: async () => {
      await generator.close();
      await scorer.close();
    },
  };
  const prompts = texts.map(({ ids }) => ids.slice(0, 9));
  const generated = await generator.generate({
    prompts,
    requests: [0, 1, 2, 1].map((prompt, i) => ({ prompt, stream: randomStream(5, i), temperature: 1 })),
    minNewTokens: 2,
    maxNewTokens: 10,
    topK: 0,
    topP: 1,
  });
  for (const [i, prompt] of [0, 1, 2, 1].entries()) {
    const { tokens, logProbs } = generated[i] as (typeof generated)[number];
    const [scored] = await scorer.score({ prompt: prompts[prompt] as number[], rows: [tokens] }, 2);
    for (const [t, logProb] of logProbs.entries())
      expect(Math.abs(logProb - (scored?.[t] ?? Number.NaN))).toBeLessThan(1e-3);
  }
});

interface Golden {
  readonly origin: { readonly sha256: string };
  readonly digests: Record<string, string>;
}

test("every tensor of SmolLM2's GGUF comes out bit for bit as transformers reads it", async () => {
  const cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-smollm2-'));
  try {
    const golden = await readGolden<Golden>('models', 'smollm2-weights');
    const { sha256, weights } = await openGguf(await modelFixture('smollm2-135m-instruct'), {
      cacheDir,
      progress: silentProgress,
    });
    expect(sha256).toBe(golden.origin.sha256);
    const bytes = await readFile(weights.path);
    const digests = [...weights.tensors].map(([name, { offset, byteLength }]) => {
      const digest = createHash('sha256').update(bytes.subarray(offset, offset + byteLength));
      return [name, digest.digest('hex').slice(0, 16)];
    });
    expect(Object.fromEntries(digests)).toEqual(golden.digests);
  } finally {
    await rm(cacheDir, { recursive: true });
  }
});
