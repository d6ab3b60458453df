import { FloodgateError } from '../../base/errors.ts';
import { maxOf } from '../../base/long-lists.ts';
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
  /** Whether two separators (RoBERTa) rather than token types (BERT) distinguish the texts of a pair. */
  readonly hasDoubleSeparator: boolean;
}

/** Lengths that two texts keep of `room` tokens. The longer one is cut first, as `longest_first` of `transformers`. */
function keptLengths(first: number, second: number, room: number): readonly [number, number] {
  if (first + second <= room) return [first, second];
  const shorter = Math.min(first, second, Math.floor(room / 2));
  return first <= second ? [shorter, room - shorter] : [room - shorter, shorter];
}

/** Finds the special tokens before and after a text, from what the tokenizer adds to one. */
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
 * Returns the function that encodes texts as rows of at most `maxTokens`, cut at the end of the (longer) text.
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

/** Tokens of one run, padding included: bounds the memory of attention scores (16 x 512 x 12 heads: 200 MB). */
const MAX_BATCH_TOKENS = 8192;
const MAX_BATCH_ROWS = 64;

/** Rows of similar length, padded on the right to the longest of them. */
export interface EncoderBatch {
  readonly rows: number;
  readonly tokens: number;
  /** All row-major [rows, tokens]. */
  readonly ids: number[];
  /** 1 at tokens, 0 at padding. */
  readonly mask: number[];
  readonly tokenTypes: number[];
}

/** Groups the indices of `lengths` into batches, longest first, which keeps padding small. */
export function planBatches(lengths: readonly number[]): number[][] {
  const order = lengths.map((_, i) => i).sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  let tokens = 0; // of the batch's longest row, its first
  for (const index of order) {
    if (batch.length === MAX_BATCH_ROWS || (batch.length + 1) * tokens > MAX_BATCH_TOKENS) batch = [];
    if (batch.length === 0) {
      batches.push(batch);
      tokens = lengths[index] as number;
    }
    batch.push(index);
  }
  return batches;
}

export function padBatch(inputs: readonly EncoderInput[], padId: number): EncoderBatch {
  const tokens = maxOf([1, ...inputs.map(({ ids }) => ids.length)]);
  const columns = Array.from({ length: tokens }, (_, t) => t);
  return {
    rows: inputs.length,
    tokens,
    ids: inputs.flatMap(({ ids }) => columns.map((t) => ids[t] ?? padId)),
    mask: inputs.flatMap(({ ids }) => columns.map((t) => (t < ids.length ? 1 : 0))),
    tokenTypes: inputs.flatMap(({ tokenTypes }) => columns.map((t) => tokenTypes[t] ?? 0)),
  };
}

/**
 * Runs every input through `runBatch`, which returns [rows, width] row-major, and restores the order of rows.
 * Returns [inputs, width].
 * @throws FloodgateError `interrupted` before a batch, when `signal` was aborted.
 */
export async function runInBatches(
  inputs: readonly EncoderInput[],
  options: { readonly padId: number; readonly width: number; readonly signal?: AbortSignal | undefined },
  runBatch: (batch: EncoderBatch) => Promise<Float32Array>,
): Promise<Float32Array> {
  const { padId, width, signal } = options;
  const results = new Float32Array(inputs.length * width);
  for (const indices of planBatches(inputs.map(({ ids }) => ids.length))) {
    if (signal?.aborted) throw new FloodgateError('interrupted', 'embed texts: interrupted');
    const rows = await runBatch(
      padBatch(
        indices.map((i) => inputs[i] as EncoderInput),
        padId,
      ),
    );
    indices.forEach((index, row) => {
      results.set(rows.subarray(row * width, (row + 1) * width), index * width);
    });
  }
  return results;
}
