import type { Tokenizer } from './tokenizer.ts';

export interface PlainPromptOptions {
  /** Whether control tokens written in the text are read as such: false for text nobody vouches for. */
  readonly parseSpecial: boolean;
}

/**
 * Returns the ids of a text for a decoder to continue, at least one: a BOS in front where the tokenizer adds one by
 * itself (not doubled), nothing after the text, even where the tokenizer would close it. An empty text without a BOS
 * becomes the token that starts texts: the BOS, else the end token, as GPT-2 was trained.
 */
export function encodePlainPrompt(tokenizer: Tokenizer, text: string, options: PlainPromptOptions): number[] {
  const { bosId, endIds } = tokenizer;
  const ids = tokenizer.encode(text, options);
  const addsBos = bosId !== undefined && tokenizer.encode('', { addSpecial: true })[0] === bosId;
  if (addsBos && ids[0] !== bosId) return [bosId, ...ids];
  return ids.length > 0 ? ids : [bosId ?? (endIds[0] as number)];
}
