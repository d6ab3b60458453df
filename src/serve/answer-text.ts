import { minOf } from '../base/long-lists.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';

/** A token of an answer as a client sees it. */
export interface AnswerToken {
  readonly id: number;
  /** Its place in the answer's text, in UTF-16 code units. */
  readonly offset: number;
  readonly logProb: number;
  /** The most probable tokens at its position, the best first. */
  readonly best: readonly { readonly id: number; readonly logProb: number }[];
}

/** A part of an answer: text that later tokens cannot change, and the tokens that wrote it. */
export interface AnswerPiece {
  readonly text: string;
  readonly tokens: readonly AnswerToken[];
}

export interface AnswerTextOptions {
  readonly tokenizer: Tokenizer;
  /** The answer ends before the first of these. */
  readonly stops: readonly string[];
  /** Cuts spaces at both ends. */
  readonly isTrimmed: boolean;
}

/**
 * An unfinished character (at most three of its four bytes), or spaces that a later token may remove: some decoders join `do n't` to `don't`, and a
 * trimmed answer has none at its end.
 */
const UNSETTLED = /(?:\ufffd{1,3}|\s+(?:n?'\w?|n)?)$/;

/** Length of the longest end of `text` that one of the stops begins with. */
function openStopLength(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}

/** Turns tokens into text as they are drawn. The pieces joined are the answer, streamed or not. */
export class AnswerText {
  /** True once a stop was found: no token after it counts. */
  isStopped = false;
  private readonly options: AnswerTextOptions;
  private readonly ids: number[] = [];
  /** All text so far, without what is cut. */
  private full = '';
  private given = '';
  private pending: AnswerToken[] = [];

  constructor(options: AnswerTextOptions) {
    this.options = options;
  }

  /** Adds a token that is part of the text; gives back what it settles, often nothing. */
  push(token: Omit<AnswerToken, 'offset'>): AnswerPiece {
    this.pending.push({ ...token, offset: this.full.length });
    this.ids.push(token.id);
    const { tokenizer, stops, isTrimmed } = this.options;
    const decoded = tokenizer.decode(this.ids);
    this.full = isTrimmed ? decoded.trimStart() : decoded;
    const places = stops.map((stop) => this.full.indexOf(stop)).filter((place) => place >= 0);
    if (places.length > 0) {
      this.isStopped = true;
      this.full = this.full.slice(0, minOf(places));
      this.pending = this.pending.filter(({ offset }) => offset < this.full.length);
      return { text: '', tokens: [] };
    }
    return this.settle(this.full.length - Math.max(openStopLength(this.full, stops), this.unsettledLength()));
  }

  /** The rest of the text. */
  finish(): AnswerPiece {
    if (this.options.isTrimmed) this.full = this.full.trimEnd();
    const rest = { text: this.full.slice(this.given.length), tokens: this.pending };
    this.given += rest.text;
    this.pending = [];
    return rest;
  }

  private unsettledLength(): number {
    return UNSETTLED.exec(this.full)?.[0].length ?? 0;
  }

  /**
   * Byte tokens in a row are decoded together: until the last byte of a second character, the first is unreadable
   * again. Nothing is given before the text agrees with what was.
   */
  private settle(length: number): AnswerPiece {
    if (!this.full.startsWith(this.given)) return { text: '', tokens: [] };
    const text = this.full.slice(this.given.length, length);
    this.given += text;
    const open = this.pending.findIndex(({ offset }) => offset >= this.given.length);
    return { text, tokens: this.pending.splice(0, open === -1 ? this.pending.length : open) };
  }
}
