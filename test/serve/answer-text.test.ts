import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadTokenizerFromFolder } from '../../src/models/tokenizer/load-tokenizer.ts';
import type { Tokenizer } from '../../src/models/tokenizer/tokenizer.ts';
import { AnswerText, type AnswerTextOptions } from '../../src/serve/answer-text.ts';
import { testPath } from '../support/golden-file.ts';

async function tokenizerOf(name: string): Promise<Tokenizer> {
  const { tokenizer } = await loadTokenizerFromFolder(testPath('fixtures', 'tokenizers', name));
  return tokenizer;
}

/** Pieces of an answer until its stop, and the rest. */
function piecesOf(ids: readonly number[], options: AnswerTextOptions) {
  const text = new AnswerText(options);
  const pieces = [];
  for (const id of ids) {
    pieces.push(text.push({ id, logProb: -1, best: [] }));
    if (text.isStopped) break;
  }
  return { text, pieces: [...pieces, text.finish()] };
}

const joined = (pieces: readonly { readonly text: string }[]): string => pieces.map(({ text }) => text).join('');

/** Characters of one to four bytes, spaces, and what decoders join. */
const PARTS = ['a', 'tell me', ' ', '  ', '\n', 'é', '你好', '🙂', " n't", " 's", ' .', ' ,', 'STOP', 'ST', 'now', '!'];
const texts = fc.array(fc.constantFrom(...PARTS), { maxLength: 12 }).map((parts) => parts.join(''));
/** Where texts begin, so that decoders which cut a first space do not matter. */
const START = 'x';

describe.each(['gpt2-like', 'llama2-like', 'llama3-like', 'pieces-like', 'qwen2-like', 'unigram-like'])(
  'an answer of %s',
  (name) => {
    it('is what the tokenizer decodes, piece by piece', async () => {
      const tokenizer = await tokenizerOf(name);
      fc.assert(
        fc.property(texts, fc.boolean(), (text, isTrimmed) => {
          const ids = tokenizer.encode(`${isTrimmed ? ' \\n' : ''}${START}${text}`, { parseSpecial: false });
          const whole = tokenizer.decode(ids);
          const { pieces } = piecesOf(ids, { tokenizer, stops: [], isTrimmed });
          expect(joined(pieces)).toBe(isTrimmed ? whole.trim() : whole);
          expect(pieces.flatMap(({ tokens }) => tokens.map(({ id }) => id))).toEqual(ids);
        }),
      );
    });

    it('ends before the first stop, and no piece shows a part of one', async () => {
      const tokenizer = await tokenizerOf(name);
      fc.assert(
        fc.property(texts, (text) => {
          const ids = tokenizer.encode(START + text, { parseSpecial: false });
          const whole = tokenizer.decode(ids);
          const { pieces, text: answer } = piecesOf(ids, { tokenizer, stops: ['STOP', '!'], isTrimmed: false });
          const place = whole.search(/STOP|!/);
          expect(answer.isStopped).toBe(place >= 0);
          expect(joined(pieces)).toBe(place < 0 ? whole : whole.slice(0, place));
        }),
      );
    });
  },
);

const randomIds = (tokenizer: Tokenizer) =>
  fc.array(fc.integer({ min: 0, max: tokenizer.vocabSize - 1 }), { maxLength: 40 });

it('of random tokens, with characters that never end, is what the tokenizer decodes', async () => {
  const tokenizer = await tokenizerOf('gpt2-like');
  fc.assert(
    fc.property(randomIds(tokenizer), (ids) => {
      const { pieces } = piecesOf(ids, { tokenizer, stops: [], isTrimmed: false });
      expect(joined(pieces)).toBe(tokenizer.decode(ids));
    }),
  );
});

it('of byte tokens that are no text keeps what was given, and has the right length', async () => {
  const tokenizer = await tokenizerOf('llama2-like');
  fc.assert(
    fc.property(randomIds(tokenizer), (ids) => {
      const { pieces } = piecesOf(ids, { tokenizer, stops: [], isTrimmed: false });
      const whole = tokenizer.decode(ids);
      expect(joined(pieces).length).toBeGreaterThanOrEqual(whole.length);
      if (!whole.includes('\ufffd')) expect(joined(pieces)).toBe(whole);
    }),
  );
});

it('an unfinished character waits for its last byte', async () => {
  const tokenizer = await tokenizerOf('gpt2-like');
  const ids = tokenizer.encode('x🙂', { parseSpecial: false });
  expect(ids.length).toBeGreaterThan(2);
  const { pieces } = piecesOf(ids, { tokenizer, stops: [], isTrimmed: false });
  expect(pieces.map(({ text }) => text).filter((text) => text !== '')).toEqual(['x', '🙂']);
});
