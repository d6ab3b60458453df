import { FloodgateError } from '../../base/errors.ts';
import { runWithin } from './bounded-work.ts';

/** One character may become many: U+FDFA gives 18 in NFKD. A chain of replacements gives 512 for each, and again. */
const MAX_GROWTH = 32;
/** Growth of texts without much length of their own: prefixes, byte characters. */
const GROWTH_ROOM = 4_096;
/** Above this length no text may grow as much: only threefold, as Chinese text does in BERT and in bytes. */
const LARGE_TEXT = 4_194_304;
const LARGE_GROWTH = 3;
/** A backtracking pattern. An honest one takes some milliseconds for a hundred thousand characters. */
const PATTERN_LIMIT_MS = 1_000;
const CHARACTERS_PER_MS = 1_000;

export type TokenizerPart = 'normalizer' | 'pre-tokenizer' | 'decoder' | 'pattern';
const HINT = 'the tokenizer.json of this model is hostile or broken: use the files that the model was published with';

/** Stops a text that grows without end on its way through the steps of one part of a tokenizer. */
export class GrowthLimit {
  readonly #part: TokenizerPart;
  readonly #limit: number;

  /** `length`: of the text before the first step, in UTF-16 units. */
  constructor(part: TokenizerPart, length: number) {
    this.#part = part;
    this.#limit = Math.max(
      Math.min(MAX_GROWTH * length + GROWTH_ROOM, LARGE_TEXT),
      LARGE_GROWTH * length + GROWTH_ROOM,
    );
  }

  /** @throws `format` when a text of `length` is too long */
  check(length: number): void {
    if (length <= this.#limit) return;
    throw new FloodgateError(
      'format',
      `tokenizer.json: a ${this.#part} makes too long a text, expected at most ${this.#limit} characters`,
      { hint: HINT },
    );
  }

  /**
   * Returns `text` with each match of a global pattern replaced. Checks the length before the result exists.
   * `before`: length of other texts that count with this one.
   */
  replace(text: string, pattern: RegExp, content: string, before = 0): string {
    let length = before + text.length;
    return text.replace(pattern, (match) => {
      length += content.length - match.length;
      this.check(length);
      return content;
    });
  }
}

/**
 * Runs patterns that nobody vouches for on texts of `length` characters in all, in bounded time.
 * @throws `format` when they run too long, or the engine gives up (patterns too large, stacks too deep)
 */
export function runPatterns<T>(part: TokenizerPart, length: number, work: () => T): T {
  const limitMs = PATTERN_LIMIT_MS + Math.ceil(length / CHARACTERS_PER_MS);
  try {
    return runWithin({ limitMs, operation: `tokenizer.json: a ${part}`, hint: HINT }, work);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    throw new FloodgateError('format', `tokenizer.json: a pattern of a ${part} cannot be used on this text`, {
      cause,
      hint: HINT,
    });
  }
}
