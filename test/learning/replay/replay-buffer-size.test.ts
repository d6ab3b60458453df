import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_STATE_BYTES } from '../../../src/learning/checkpoints/trainer-state.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import { largestBufferBytes, longestTokenBytes } from '../../../src/learning/replay/replay-buffer-size.ts';
import { serialiseReplayBuffer } from '../../../src/learning/replay/replay-buffer-state.ts';
import { assertBufferFits } from '../../../src/stages/gflownet.ts';
import { candidateOf } from './replay-buffer-model.ts';

const VOCABULARY = ['a', ' bc', '\u0001', '"', '\ufffd', '\\n', 'äöü', '\u{1f600}', '\ud800', ' '.repeat(128)];
const tokenizer = {
  vocabSize: VOCABULARY.length,
  decode: (ids: readonly number[]) => ids.map((id) => VOCABULARY[id]).join(''),
};
const MOST_TOKENS = 12;

test('no buffer is saved in more bytes than the bound says', () => {
  const size = { capacity: 6, maxTokens: MOST_TOKENS, vocabSize: tokenizer.vocabSize, embeddingWidth: 5 };
  const bound = largestBufferBytes({ ...size, tokenBytes: longestTokenBytes(tokenizer) });
  const double = fc.double({ noNaN: true, noDefaultInfinity: true });
  const candidate = fc.record({
    tokens: fc.array(fc.nat(VOCABULARY.length - 1), { maxLength: MOST_TOKENS }),
    embedding: fc.array(fc.float({ noNaN: true, min: -1, max: 1 }), { minLength: 5, maxLength: 5 }),
    fluency: double,
    logPRef: double,
    logS: double,
    meanUnsafe: double,
    responses: fc.maxSafeNat().map((count) => count + 1),
    addedAtUpdate: fc.maxSafeNat(),
  });
  fc.assert(
    fc.property(fc.array(candidate, { maxLength: 12 }), (candidates) => {
      const buffer = createReplayBuffer({ capacity: 6, nearEditRatio: null });
      for (const { tokens, embedding, ...rest } of candidates) {
        const whole = { ...rest, text: tokenizer.decode(tokens), embedding: Float32Array.from(embedding) };
        buffer.insert({ ...candidateOf(tokens, whole), source: 'reference', terminated: false }, () => 0);
      }
      expect(Buffer.byteLength(JSON.stringify(serialiseReplayBuffer(buffer)))).toBeLessThanOrEqual(bound);
    }),
    { numRuns: 300, seed: 4 },
  );
});

test('a buffer that no checkpoint could hold is refused, with the largest capacity that fits', () => {
  const size = { maxTokens: 20, vocabSize: 49_152, embeddingWidth: 384, tokenBytes: 100 };
  expect(() => assertBufferFits({ ...size, capacity: 5000 })).not.toThrow();
  expect(() => assertBufferFits({ ...size, capacity: 14_000 })).not.toThrow();
  let hint = '';
  try {
    assertBufferFits({ ...size, capacity: 1_000_000 });
  } catch (error) {
    expect(error).toMatchObject({ code: 'config', message: expect.stringContaining('gflownet.replay.capacity') });
    ({ hint } = error as { hint: string });
  }
  const fitting = Number(/at most (\d+)/.exec(hint)?.[1]);
  expect(() => assertBufferFits({ ...size, capacity: fitting })).not.toThrow();
  expect(() => assertBufferFits({ ...size, capacity: fitting + 1 })).toThrow();
  expect(largestBufferBytes({ ...size, capacity: fitting })).toBeLessThan(MAX_STATE_BYTES);
});
