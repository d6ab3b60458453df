import type { ChatTemplate } from './chat-template.ts';
import { createSplitAtTokens } from './tokenizer-added-tokens.ts';
import type { AddedToken } from './tokenizer-json.ts';

/** Control tokens that end a text or a turn in every model that has them. */
const END_TOKENS: ReadonlySet<string> = new Set([
  '<|im_end|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end|>',
  '<|return|>',
  '<end_of_turn>',
  '<|end_of_turn|>',
  '<EOT>',
  '</s>',
]);

const ANSWER = 'ANSWER';

/** The first control token that the template writes after an assistant's message: what the model was taught to stop with. */
function endOfTurn(template: ChatTemplate, addedTokens: readonly AddedToken[]): number | undefined {
  let text: string;
  try {
    const messages = [
      { role: 'user', content: 'QUESTION' },
      { role: 'assistant', content: ANSWER },
    ] as const;
    text = template.render(messages, { addGenerationPrompt: false });
  } catch {
    return undefined; // a template that refuses this plain conversation cannot tell
  }
  const answerAt = text.lastIndexOf(ANSWER);
  if (answerAt < 0) return undefined;
  const split = createSplitAtTokens(addedTokens.filter((token) => token.special));
  return split(text.slice(answerAt + ANSWER.length)).find((part) => typeof part === 'number');
}

export interface EndTokenSources {
  /** What the model's files name as EOS, the main one first. */
  readonly eosIds: readonly number[];
  readonly addedTokens: readonly AddedToken[];
  readonly chatTemplate: ChatTemplate | undefined;
}

/** Returns every id that ends a generation, without repeats: the named ones, the chat template's, the well-known ones. */
export function endIdsOf(sources: EndTokenSources): number[] {
  const { eosIds, addedTokens, chatTemplate } = sources;
  const turnEnd = chatTemplate === undefined ? undefined : endOfTurn(chatTemplate, addedTokens);
  const known = addedTokens.filter((token) => token.special && END_TOKENS.has(token.content)).map((token) => token.id);
  return [...new Set([...eosIds, ...(turnEnd === undefined ? [] : [turnEnd]), ...known])];
}
