import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { PROFANITY_ASSET, readJudgeAsset } from '../../src/judges/judge-asset.ts';
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

  it('opens only the asset that was shipped', async () => {
    await expect(readJudgeAsset({ ...PROFANITY_ASSET, sha256: '0'.repeat(64) })).rejects.toThrow(
      `has sha256 ${PROFANITY_ASSET.sha256}, expected 000`,
    );
    await expect(readJudgeAsset({ ...PROFANITY_ASSET, file: 'nothing.bin' })).rejects.toThrow('cannot read its asset');
  });

  it.each([
    ['nothing', new Uint8Array(0), '0 bytes, expected at least 8'],
    ['a header longer than the file', Uint8Array.of(255, 255, 0, 0, 0, 0, 0, 0), 'header of 65535 bytes'],
    ['a header longer than believed', new Uint8Array(100_000).fill(1, 0, 3), 'header of 65793 bytes'],
    ['a huge header', new Uint8Array(8).fill(255), 'header of 18446744073709551615 bytes'],
    ['no JSON', Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 123), 'header is not JSON'],
    ['a list', withHeader([]), 'header is not a JSON object'],
    ['no tensors', withHeader({}), 'no F64 tensor sigmoid'],
    ['another type', withSigmoid('F32', [5, 3], [0, 60]), 'no F64 tensor sigmoid'],
    ['a tensor outside the file', withSigmoid('F64', [5, 3], [0, 120]), 'expected 120 of 0 bytes'],
    ['a tensor of another size', withSigmoid('F64', [5, 3], [0, 119]), 'is at 0..119'],
    ['a negative shape', withSigmoid('F64', [-1, 3], [0, 0]), 'shape of sigmoid'],
    ['another rank', withSigmoid('F64', [15], [0, 120]), 'shape of sigmoid'],
    ['another shape', withSigmoid('F64', [5, 4], [0, 160]), 'has shape [5,4], expected [any,3]'],
  ])('refuses as a model: %s', (_name, content, message) => {
    expect(() => parseProfanityModel(content)).toThrow(FloodgateError);
    expect(() => parseProfanityModel(content)).toThrow(message);
  });
});

function withHeader(header: unknown): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const content = new Uint8Array(8 + json.length);
  content[0] = json.length;
  content.set(json, 8);
  return content;
}

function withSigmoid(dtype: string, shape: number[], data_offsets: number[]): Uint8Array {
  return withHeader({ sigmoid: { dtype, shape, data_offsets } });
}
