import type { AnswerExample } from '../../learning/loops/answer-likelihood.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { renderChatIds } from '../../models/tokenizer/prompt-ids.ts';
import { type AttackEncoder, createAttackEncoder, type LocalPromptOptions } from '../../targets/local-prompt.ts';

/** A prompt and an answer as token ids. `isWhole`: the answer ends there, so that its end token is learned too. */
export type AnswerEncoder = (prompt: string, answer: string, isWhole: boolean) => AnswerExample;

/**
 * The token that closes an assistant's turn in the model's own template, which need not be the tokenizer's end of text.
 */
export function turnEndId({ chatTemplate, tokenizer }: DecoderCheckpoint): number {
  const fallback = tokenizer.endIds[0] as number;
  if (chatTemplate === undefined) return fallback;
  const messages = [
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b' },
  ] as const;
  const ids = renderChatIds(chatTemplate, tokenizer, messages, { addGenerationPrompt: false });
  return ids.findLast((id) => tokenizer.endIds.includes(id)) ?? fallback;
}

/**
 * Returns what encodes dialogues for tuning just as the target is asked: the same template, system prompt and assistant
 * header before the answer. Control tokens in either text are read as text.
 * @throws FloodgateError `target` when a chat is asked of a model without a chat template.
 */
export function createAnswerEncoder(options: LocalPromptOptions): AnswerEncoder {
  const { checkpoint, template } = options;
  const { tokenizer } = checkpoint;
  const encodePrompt: AttackEncoder = createAttackEncoder(options);
  const endId = template === 'chat' ? turnEndId(checkpoint) : (tokenizer.endIds[0] as number);
  return (prompt, answer, isWhole) => {
    // Without a template nothing stands between the two: a space keeps the last word from growing into the answer.
    const gap = template === 'plain' && !/\s$/.test(prompt) && !/^\s/.test(answer) ? ' ' : '';
    const ids = tokenizer.encode(gap + answer, { addSpecial: false, parseSpecial: false });
    return { prompt: encodePrompt(prompt), answer: isWhole || ids.length === 0 ? [...ids, endId] : ids };
  };
}
