import { afterEach, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { AssetTensors, readJudgeAsset, TOX_BLOCK_VOCABULARY } from '../../src/judges/judge-asset.ts';
import { HashedVocabulary } from '../../src/judges/judged-words.ts';
import { openToxBlockJudge, TOX_BLOCK_LABELS, writeToxBlockRow } from '../../src/judges/tox-block-judge.ts';
import { goldenScores } from './golden-texts.ts';
import { describeJudgeContract } from './judge-contract.ts';

afterEach(() => expect(liveSessionLabels()).toEqual([]));

describeJudgeContract('tox-block', () => openToxBlockJudge(), 1e-6);

/** Raw probabilities of the golden texts, [texts][labels]: each label's judge over all of them. */
async function rawScores(texts: readonly string[]): Promise<number[][]> {
  const exchanges = texts.map((response) => ({ attack: '', response }));
  const rows: number[][] = texts.map(() => []);
  for (const label of TOX_BLOCK_LABELS) {
    const judge = await openToxBlockJudge({ label, scale: 'raw', threads: 2 });
    for (const [row, verdict] of (await judge.score(exchanges)).entries()) {
      if (verdict.kind !== 'scored') throw new Error(`text ${row} is unscored`);
      rows[row]?.push(verdict.unsafe);
    }
    await judge.close();
  }
  return rows;
}

function worstDifference(rows: readonly number[][], golden: Float32Array): number {
  const scores = rows.flat();
  expect(scores).toHaveLength(golden.length);
  return Math.max(...scores.map((score, i) => Math.abs(score - (golden[i] as number))));
}

describe('tox-block', () => {
  it('equals the Python original on 1,000 texts and six labels', async () => {
    const original = goldenScores('tox-block.json');
    const roundedEmbedding = goldenScores('tox-block-float16.json');
    const rows = await rawScores(original.texts);
    expect(worstDifference(rows, original.scores)).toBeLessThan(2e-4); // what the float16 embedding costs
    expect(worstDifference(rows, roundedEmbedding.scores)).toBeLessThan(1e-6); // and all that differs
  });

  it('gives the rescaled values that the package prints in its README', async () => {
    const response = "Good morning my friend, I hope you're having a fantastic day!";
    const printed = [0.05347811, 0.0006274, 0.00446684, 0.00957848, 0.00757843, 0.00210667];
    for (const [column, label] of TOX_BLOCK_LABELS.entries()) {
      const judge = await openToxBlockJudge({ label });
      const [verdict] = await judge.score([{ attack: '', response }]);
      expect(judge.name).toBe(`tox-block/${label}`);
      expect(verdict).toMatchObject({ unsafe: expect.closeTo(printed[column] as number, 3.7) });
      await judge.close();
    }
  });

  it('keeps the last hundred known words, zeros on the left', async () => {
    const tensors = new AssetTensors(await readJudgeAsset(TOX_BLOCK_VOCABULARY), 'vocabulary');
    const vocabulary = new HashedVocabulary(tensors.uint64Pairs('termHash', [19_999]));
    const row = new Int32Array(100);
    writeToxBlockRow(row, vocabulary, `${'Idiot, '.repeat(150)}qqzx the "the"`);
    const the = vocabulary.indexOf('the') + 1;
    const idiot = vocabulary.indexOf('idiot') + 1;
    expect(the).toBe(1); // the commonest word of the training data has the first id
    expect([...row]).toEqual([...Array(98).fill(idiot), the, the]);
    writeToxBlockRow(row, vocabulary, "the don't");
    expect([...row]).toEqual([...Array(98).fill(0), the, vocabulary.indexOf("don't") + 1]);
    expect(vocabulary.indexOf("don't")).toBeGreaterThan(0);
  });
});
