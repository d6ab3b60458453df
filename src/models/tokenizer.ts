/** Text to token ids and back, exactly as the model's own tokenizer does it. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly padId: number | undefined;
  /** Every id that ends a generation: end of text, end of turn. Never empty for a decoder. */
  readonly endIds: readonly number[];
  /** Ids of control tokens (chat markers, padding, ...): never sampled as an attack's text. */
  readonly specialIds: readonly number[];
  /** Ids of `text`. `addSpecial` puts BOS/CLS/SEP where the model's post-processor does; a BOS already there is not doubled. */
  encode(text: string, options?: { readonly addSpecial?: boolean }): number[];
  /** Text of `ids`; `skipSpecial` (default true) leaves control tokens out. */
  decode(ids: readonly number[], options?: { readonly skipSpecial?: boolean }): string;
}
