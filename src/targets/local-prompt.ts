import { FloodgateError } from '../base/errors.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import { renderChatIds } from '../models/tokenizer/chat-prompt.ts';
import { encodePlainPrompt } from '../models/tokenizer/plain-prompt.ts';

export interface LocalPromptOptions {
  readonly checkpoint: DecoderCheckpoint;
  /** `chat`: the model's own template; `plain`: the attack as it is. */
  readonly template: 'chat' | 'plain';
  /** The chat's system message; with `plain`, text that stands right before the attack. */
  readonly systemPrompt?: string;
}

/** Token ids of the prompt that puts `attack` to the model, at least one. Control tokens in it are read as text. */
export type AttackEncoder = (attack: string) => number[];

/** @throws FloodgateError `target` when a chat is asked of a model without a chat template. */
export function createAttackEncoder({ checkpoint, template, systemPrompt }: LocalPromptOptions): AttackEncoder {
  const { chatTemplate, tokenizer, spec } = checkpoint;
  if (template === 'plain')
    return (attack) => encodePlainPrompt(tokenizer, `${systemPrompt ?? ''}${attack}`, { parseSpecial: false });
  if (chatTemplate === undefined) {
    throw new FloodgateError('target', `open target ${spec}: the model has no chat template`, {
      hint: 'set target.template: plain',
    });
  }
  const system = systemPrompt === undefined ? [] : [{ role: 'system' as const, content: systemPrompt }];
  return (attack) => renderChatIds(chatTemplate, tokenizer, [...system, { role: 'user', content: attack }]);
}
