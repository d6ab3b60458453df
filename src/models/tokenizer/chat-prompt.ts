import { FloodgateError } from '../../base/errors.ts';
import type { ChatMessage, ChatTemplate } from './chat-template.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Private-use characters: no text has a use for them, so some are always free to stand for others. */
const PRIVATE_FIRST = 0xe000;
const PRIVATE_LAST = 0xf8ff;

/** Texts of the tokenizer's control tokens. */
function controlTexts(tokenizer: Tokenizer): string[] {
  return tokenizer.specialIds.map((id) => tokenizer.decode([id], { skipSpecial: false })).filter((text) => text !== '');
}

/** Stand-ins for the first characters of control tokens, none of which occurs in `texts`. */
function chooseStandIns(controls: readonly string[], texts: readonly string[]): Map<string, string> {
  const taken = new Set(texts.flatMap((text) => text.match(/[\ue000-\uf8ff]/g) ?? []));
  const standIns = new Map<string, string>();
  let code = PRIVATE_FIRST;
  for (const first of new Set(controls.map((control) => control.charAt(0)))) {
    while (taken.has(String.fromCharCode(code))) code++;
    if (code > PRIVATE_LAST) {
      throw new FloodgateError(
        'model',
        'chat prompt: the messages use every private-use character, expected some free',
      );
    }
    standIns.set(first, String.fromCharCode(code++));
  }
  return standIns;
}

/**
 * `content` with the first character of each control token in it swapped for its stand-in, and of each beginning of
 * one at the end, which the template's text could complete.
 */
function disarm(content: string, controls: readonly string[], standIns: ReadonlyMap<string, string>): string {
  const longest = Math.max(0, ...controls.map((control) => control.length));
  const end = content.trimEnd().length; // templates trim messages, so that an end comes before the trailing spaces
  let disarmed = '';
  for (let i = 0; i < content.length; i++) {
    const char = content.charAt(i);
    const standIn = standIns.get(char);
    const tail = i < end && end - i < longest ? content.slice(i, end) : undefined;
    const isControl = (control: string) =>
      content.startsWith(control, i) || (tail !== undefined && control.startsWith(tail));
    disarmed += standIn !== undefined && controls.some(isControl) ? standIn : char;
  }
  return disarmed;
}

/**
 * Returns the ids of the prompt that `template` writes for `messages`, with the assistant's turn opened unless
 * `addGenerationPrompt` is false. Control tokens are read in the template's own text only: a message that writes out
 * `<|im_end|>` gives the ids of those ten characters. For messages without control tokens the ids are those of the
 * rendered text. No BOS is added: the template writes it where the model wants one.
 *
 * How: the first character of each control token in a message is swapped for a private-use character before
 * rendering; after the prompt is cut at its control tokens it is swapped back. The template sees all else as it is.
 */
export function renderChatIds(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: { readonly addGenerationPrompt?: boolean } = {},
): number[] {
  const controls = controlTexts(tokenizer);
  const standIns = chooseStandIns(controls, [template.render(messages, options)]);
  const disarmed = messages.map(({ role, content }) => ({ role, content: disarm(content, controls, standIns) }));
  const originals = new Map([...standIns].map(([original, standIn]) => [standIn, original]));
  const rearm = (text: string) => text.replace(/[\ue000-\uf8ff]/g, (char) => originals.get(char) ?? char);
  const parts = tokenizer.splitSpecial(template.render(disarmed, options));
  return tokenizer.encodeParts(parts.map((part) => (typeof part === 'string' ? rearm(part) : part)));
}
