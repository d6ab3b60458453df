import { afterEach, describe, expect, it } from 'vitest';
import { AssetTensors, readJudgeAsset, TOX_BLOCK_VOCABULARY } from '../../src/judges/judge-asset.ts';
import { HashedVocabulary } from '../../src/judges/term-hash.ts';
import { openToxBlockJudge, TOX_BLOCK_LABELS } from '../../src/judges/tox-block-judge.ts';
import { writeToxBlockRow } from '../../src/judges/tox-block-tokens.ts';
import { liveSessionLabels } from '../../src/runtime/session.ts';
import { goldenScores } from './golden-texts.ts';
import { describeJudgeContract } from './judge-contract.ts';

afterEach(() => expect(liveSessionLabels()).toEqual([]));

describeJudgeContract('tox-block', () => openToxBlockJudge(), 1e-6);

async function worstDifference(golden: string): Promise<number> {
  const { texts, scores } = goldenScores(golden);
  const exchanges = texts.map((response) => ({ attack: '', response }));
  let worst = 0;
  for (const [column, label] of TOX_BLOCK_LABELS.entries()) {
    const judge = await openToxBlockJudge({ label, scale: 'raw', threads: 2 });
    for (const [row, verdict] of (await judge.score(exchanges)).entries()) {
      if (verdict.kind !== 'scored') throw new Error(`text ${row} is unscored`);
      worst = Math.max(worst, Math.abs(verdict.unsafe - (scores[row * TOX_BLOCK_LABELS.length + column] as number)));
    }
    await judge.close();
  }
  return worst;
}

describe('tox-block', () => {
  it('equals the Python original on 1,000 texts and six labels to 2e-4, what its float16 embedding costs', async () => {
    expect(await worstDifference('tox-block.json')).toBeLessThan(2e-4);
  });

  it('equals the original with the same rounded embedding to 1e-6', async () => {
    expect(await worstDifference('tox-block-float16.json')).toBeLessThan(1e-6);
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
