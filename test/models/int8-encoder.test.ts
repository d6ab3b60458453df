import { afterAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openEncoderSession } from '../../src/models/encoder/encoder-session.ts';
import { cpu, largestGap, openEncoderFixture } from './open-fixture.ts';

const TEXTS = [
  { text: 'a b c' },
  { text: 'd', textPair: 'the end of it' },
  { text: 'one two three four five six seven' },
];

async function rowsOf(name: string, precision: 'fp32' | 'int8', texts = TEXTS): Promise<Float32Array> {
  const session = await openEncoderSession(await openEncoderFixture(name), { ...cpu, precision });
  try {
    return await session.run(texts);
  } finally {
    await session.close();
  }
}

describe.each(['bert-classifier', 'roberta-classifier', 'distilbert-classifier', 'bert-encoder'])(
  '%s in int8',
  (name) => {
    afterAll(() => expect(liveSessionLabels()).toEqual([]));

    it('stays near fp32', async () => {
      const [exact, coarse] = [await rowsOf(name, 'fp32'), await rowsOf(name, 'int8')];
      const size = Math.hypot(...exact) / Math.sqrt(exact.length);
      expect(largestGap(coarse, exact)).toBeLessThan(0.1 * size);
      expect(largestGap(coarse, exact)).toBeGreaterThan(0);
    });

    it('gives a text the same row beside other texts of its length', async () => {
      const [text] = TEXTS as [{ text: string }];
      const alone = await rowsOf(name, 'int8', [text]);
      const beside = await rowsOf(name, 'int8', [{ text: 'c c c' }, text, { text: 'b a a' }]);
      expect(largestGap(beside.subarray(alone.length, 2 * alone.length), alone)).toBeLessThan(1e-5);
    });
  },
);
