import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { GraphSession, liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type DecoderCheckpoint, openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { type LabelScorer, openLabelScorer } from '../../src/models/decoder/label-scorer.ts';
import { openScorer, type Scorer } from '../../src/models/decoder/scorer.ts';
import { type GoldenTensor, goldenFloat32, readGolden, testPath } from '../support/golden-file.ts';
import { cpu } from './open-fixture.ts';

/** fp32 sums over up to a dozen tokens of log-probs around -4. */
const TOLERANCE = 2e-4;
let checkpoint: DecoderCheckpoint;
let scorer: LabelScorer;
let reference: Scorer;

beforeAll(async () => {
  const opened = await openCheckpoint(testPath('fixtures', 'models', 'smollm2'), {
    cacheDir: path.join(tmpdir(), 'floodgate-test-weights'),
  });
  if (opened.kind !== 'decoder') throw new TypeError('the fixture is a decoder');
  checkpoint = opened;
  scorer = await openLabelScorer(checkpoint, cpu);
  const { config, weights } = checkpoint;
  reference = await openScorer({ config, weights, contextTokens: 64, bans: { always: [], end: [] } }, cpu);
});
afterAll(async () => {
  await scorer.close();
  await reference.close();
  expect(liveSessionLabels()).toEqual([]);
});

/** Scores of the same tokens by the training loop's scorer, prompt by prompt and label by label. */
async function expectedScores(prompts: readonly string[], labels: readonly string[]): Promise<number[][]> {
  const { tokenizer } = checkpoint;
  const rows: number[][] = [];
  for (const prompt of prompts) {
    const row: number[] = [];
    for (const label of labels) {
      const [logProbs = []] = await reference.score(
        { prompt: tokenizer.encode(prompt), rows: [tokenizer.encode(label)] },
        0,
      );
      row.push([...logProbs].reduce((sum, logProb) => sum + logProb, 0));
    }
    rows.push(row);
  }
  return rows;
}

function expectClose(actual: readonly Float64Array[], expected: readonly (readonly number[])[]): void {
  expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  actual.forEach((row, i) => {
    row.forEach((score, l) => {
      expect(Math.abs(score - (expected[i]?.[l] ?? Number.NaN))).toBeLessThan(TOLERANCE);
    });
  });
}

describe('label scorer', () => {
  it("sums the log-probs of each label's tokens, ragged prompts and labels in one batch", async () => {
    const prompts = ['is it? ', '<|im_start|>a<|im_end|>', 'is it so? or not, tell me ', 'x'];
    const labels = ['safe', 'unsafe', 'un', 'u', 'z', '<|im_end|>'];
    expectClose(await scorer.scoreLabels(prompts, labels), await expectedScores(prompts, labels));
  });

  it('equals plain sums over the golden logits of float64 PyTorch', async () => {
    const golden = await readGolden<{ rows: number[][]; logits: GoldenTensor }>('models', 'smollm2');
    const { tokenizer, config } = checkpoint;
    const logits = goldenFloat32(golden.logits);
    let start = 0;
    for (const row of golden.rows) {
      const cut = row.length - 3;
      const [prompt, label] = [row.slice(0, cut), row.slice(cut)].map((ids) =>
        tokenizer.decode(ids, { skipSpecial: false }),
      ) as [string, string];
      expect(tokenizer.encode(prompt + label)).toEqual(row); // the texts encode to the golden ids
      let expected = 0;
      for (let t = cut; t < row.length; t++) {
        const at = (start + t - 1) * config.vocabSize;
        const values = [...logits.subarray(at, at + config.vocabSize)];
        const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
        expected += (values[row[t] as number] as number) - Math.log(total);
      }
      expectClose(await scorer.scoreLabels([prompt], [label]), [[expected]]);
      start += row.length;
    }
  });

  it('scores a prompt in a batch as it does alone, however many there are', async () => {
    const labels = ['safe', 'unsafe'];
    const prompts = Array.from({ length: 150 }, (_, i) => `so ${'abc'.charAt(i % 3).repeat(1 + (i % 17))} is `);
    const together = await scorer.scoreLabels(prompts, labels);
    for (const i of [0, 1, 77, 149]) {
      const [alone = new Float64Array()] = await scorer.scoreLabels([prompts[i] as string], labels);
      expectClose([together[i] as Float64Array], [[...alone]]);
    }
  });

  it('runs a prompt once for labels that begin alike', async () => {
    const run = vi.spyOn(GraphSession.prototype, 'run');
    await scorer.scoreLabels(['is it '], ['u', 'un', 'unsafe', 'z']);
    await scorer.scoreLabels(['is it '], ['safe', 'unsafe']);
    expect(run.mock.calls.map(([feeds]) => feeds.rowIds?.dims[0])).toEqual([1, 2]);
    run.mockRestore();
  });

  it('gives NaN for a prompt that does not fit with its labels, and leaves its neighbours alone', async () => {
    const fits = 'a'.repeat(59);
    const labels = ['unsafe', 'no'];
    const [first, beyond, far, last] = await scorer.scoreLabels([fits, 'a'.repeat(60), 'a'.repeat(5000), 'b'], labels);
    expect([...(beyond ?? []), ...(far ?? [])]).toEqual([NaN, NaN, NaN, NaN]);
    expectClose([first, last] as Float64Array[], await expectedScores([fits, 'b'], labels));
  });

  it('takes no prompts and an empty prompt, and refuses an empty label', async () => {
    expect(await scorer.scoreLabels([], ['safe'])).toEqual([]);
    const [empty] = await scorer.scoreLabels([''], ['safe']);
    const [bos] = await scorer.scoreLabels(['<|im_start|>'], ['safe']);
    expect(empty).toEqual(bos);
    await expect(scorer.scoreLabels(['a'], [''])).rejects.toMatchObject({ code: 'model' });
  });
});
