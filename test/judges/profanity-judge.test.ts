import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { openProfanityJudge, parseProfanityModel } from '../../src/judges/profanity-judge.ts';
import { goldenScores } from './golden-texts.ts';
import { describeJudgeContract } from './judge-contract.ts';

describeJudgeContract('alt-profanity-check', openProfanityJudge);

describe('alt-profanity-check', () => {
  it('equals the Python original on 1,000 texts to 1e-6', async () => {
    const { texts, scores } = goldenScores('profanity.json');
    const judge = await openProfanityJudge();
    const verdicts = await judge.score(texts.map((response) => ({ attack: '', response })));
    let worst = 0;
    for (const [i, verdict] of verdicts.entries()) {
      if (verdict.kind !== 'scored') throw new Error(`text ${i} is unscored`);
      worst = Math.max(worst, Math.abs(verdict.unsafe - (scores[i] as number)));
    }
    expect(worst).toBeLessThan(1e-6);
    expect(verdicts).toHaveLength(1000);
    await judge.close();
  });

  it('reads the response only, and gives its constant where no word is known', async () => {
    const judge = await openProfanityJudge();
    const verdicts = await judge.score([
      { attack: 'You stupid idiot', response: '' },
      { attack: '', response: 'qqzx xqzq' },
    ]);
    for (const verdict of verdicts) expect(verdict).toMatchObject({ unsafe: expect.closeTo(0.0364, 4) });
  });

  it.each([
    ['nothing', new Uint8Array(0)],
    ['a header longer than the file', Uint8Array.of(255, 255, 0, 0, 0, 0, 0, 0)],
    ['a huge header', new Uint8Array(8).fill(255)],
    ['no JSON', Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 123)],
    ['no tensors', Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 123, 125)],
    ['a tensor outside the file', withHeader({ sigmoid: { dtype: 'F64', shape: [5, 3], data_offsets: [0, 120] } })],
    ['a lying shape', withHeader({ sigmoid: { dtype: 'F64', shape: [-1, 3], data_offsets: [0, 0] } })],
  ])('refuses as a model: %s', (_name, content) => {
    expect(() => parseProfanityModel(content)).toThrow(FloodgateError);
  });
});

function withHeader(header: unknown): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const content = new Uint8Array(8 + json.length);
  content[0] = json.length;
  content.set(json, 8);
  return content;
}
