import { FloodgateError } from '../../base/errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** A text, or a pair of texts read together (such as an attack and its response). */
export interface EncoderText {
  readonly text: string;
  readonly textPair?: string;
}

/** One row of token ids with the special tokens of the model around it. */
export interface EncoderInput {
  readonly ids: readonly number[];
  /** 1 at the second text and its end, 0 elsewhere. */
  readonly tokenTypes: readonly number[];
}

export interface EncoderInputOptions {
  readonly tokenizer: Tokenizer;
  /** Special tokens included. */
  readonly maxTokens: number;
  /** Whether a pair is told apart by two separators (RoBERTa) instead of by token types (BERT). */
  readonly hasDoubleSeparator: boolean;
}

/** Lengths that two texts keep of `room` tokens: the longer one is cut first, as `longest_first` of `transformers`. */
function keptLengths(first: number, second: number, room: number): readonly [number, number] {
  if (first + second <= room) return [first, second];
  const shorter = Math.min(first, second, Math.floor(room / 2));
  return first <= second ? [shorter, room - shorter] : [room - shorter, shorter];
}

/** The special tokens before and after a text, read off what the tokenizer does to one. */
function specialFrame(tokenizer: Tokenizer): { readonly before: number[]; readonly after: number[] } {
  const framed = tokenizer.encode('a', { addSpecial: true });
  const bare = tokenizer.encode('a');
  const start = framed.findIndex((_, i) => bare.length > 0 && bare.every((id, k) => framed[i + k] === id));
  if (start < 0) {
    throw new FloodgateError(
      'model',
      `open encoder: its tokenizer does not keep a text between special tokens, got [${framed}] around [${bare}]`,
    );
  }
  return { before: framed.slice(0, start), after: framed.slice(start + bare.length) };
}

/**
 * Returns the function that turns texts into rows of at most `maxTokens`, cut at the end of the (longer) text.
 * Control tokens written out in a text are read as text: an attack cannot close its own segment.
 * @throws FloodgateError `model` when the window leaves no room for text.
 */
export function createInputEncoder(options: EncoderInputOptions): (text: EncoderText) => EncoderInput {
  const { tokenizer, maxTokens, hasDoubleSeparator } = options;
  const { before, after } = specialFrame(tokenizer);
  const between = hasDoubleSeparator ? [...after, ...after] : after;
  const room = maxTokens - before.length - between.length - after.length;
  if (room < 1) {
    throw new FloodgateError('model', `open encoder: a window of ${maxTokens} tokens leaves no room for text`);
  }
  const encode = (text: string): number[] => tokenizer.encode(text, { parseSpecial: false });
  return ({ text, textPair }) => {
    const first = encode(text);
    if (textPair === undefined) {
      const ids = [...before, ...first.slice(0, maxTokens - before.length - after.length), ...after];
      return { ids, tokenTypes: ids.map(() => 0) };
    }
    const second = encode(textPair);
    const [firstLength, secondLength] = keptLengths(first.length, second.length, room);
    const head = [...before, ...first.slice(0, firstLength), ...between];
    const tail = [...second.slice(0, secondLength), ...after];
    const tailType = hasDoubleSeparator ? 0 : 1;
    return { ids: [...head, ...tail], tokenTypes: [...head.map(() => 0), ...tail.map(() => tailType)] };
  };
}
