export interface EncodeOptions {
  /** Puts BOS/CLS/SEP where the model's post-processor does (default false); a BOS already there is not doubled. */
  readonly addSpecial?: boolean;
  /** Reads control tokens written out in the text as such (default true). False for text nobody vouches for. */
  readonly parseSpecial?: boolean;
}

/** Text to token ids and back, exactly as the model's own tokenizer does it. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly padId: number | undefined;
  /** Every id that ends a generation: end of text, end of turn; the tokenizer's own EOS first. Never empty for a decoder. */
  readonly endIds: readonly number[];
  /** Ids of control tokens (chat markers, padding, ...): never sampled as an attack's text. */
  readonly specialIds: readonly number[];
  /** Ids of `text`. Lone surrogates are read as U+FFFD. @throws `model` on a text above the length limit. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Cuts `text` at the control tokens written in it: their ids, and the texts between them in order. */
  splitSpecial(text: string): (string | number)[];
  /**
   * Ids of a text given in parts: numbers stand as they are, strings are encoded with control tokens read as plain
   * text. `encodeParts(splitSpecial(text))` equals `encode(text)`.
   */
  encodeParts(parts: readonly (string | number)[]): number[];
  /** Text of `ids`; `skipSpecial` (default true) leaves control tokens out. Ids outside the vocabulary are left out. */
  decode(ids: readonly number[], options?: { readonly skipSpecial?: boolean }): string;
}
