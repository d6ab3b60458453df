import { FloodgateError } from '../../base/errors.ts';
import type { ChatMessage, ChatTemplate } from './chat-template.ts';
import type { Tokenizer } from './tokenizer.ts';
import { TextTrie } from './tokenizer-added-tokens.ts';

export interface PlainPromptOptions {
  /** Whether control tokens written in the text are read as such. False for untrusted text. */
  readonly parseSpecial: boolean;
}

/**
 * Returns the ids of a text for a decoder to continue, at least one. Puts a BOS in front where the tokenizer adds one
 * by itself, never two. Puts nothing after the text, even where the tokenizer would close it. An empty text without a
 * BOS becomes the token that starts texts: the BOS, else the end token, as GPT-2 was trained.
 */
export function encodePlainPrompt(tokenizer: Tokenizer, text: string, options: PlainPromptOptions): number[] {
  const { bosId, endIds } = tokenizer;
  const ids = tokenizer.encode(text, options);
  const addsBos = bosId !== undefined && tokenizer.encode('', { addSpecial: true })[0] === bosId;
  if (addsBos && ids[0] !== bosId) return [bosId, ...ids];
  return ids.length > 0 ? ids : [bosId ?? (endIds[0] as number)];
}

/** Range of private-use characters. Ordinary text does not contain them, so some are free as stand-ins. */
const PRIVATE_FIRST = 0xe000;
const PRIVATE_LAST = 0xf8ff;

/** Texts of a tokenizer's control tokens, and their first characters. */
interface Controls {
  readonly texts: TextTrie<true>;
  readonly firsts: ReadonlySet<string>;
}

/** A tokenizer may have a million control tokens, and every attack asks for them. */
const controlsOf = new WeakMap<Tokenizer, Controls>();

function findControls(tokenizer: Tokenizer): Controls {
  const known = controlsOf.get(tokenizer);
  if (known !== undefined) return known;
  const texts = new TextTrie<true>();
  const firsts = new Set<string>();
  for (const id of tokenizer.specialIds) {
    const text = tokenizer.decode([id], { skipSpecial: false });
    texts.set(text, true);
    if (text !== '') firsts.add(text.charAt(0));
  }
  controlsOf.set(tokenizer, { texts, firsts });
  return { texts, firsts };
}

/** Chooses stand-ins for the first characters of control tokens; none of them occurs in `texts`. */
function chooseStandIns(firsts: ReadonlySet<string>, texts: readonly string[]): Map<string, string> {
  const taken = new Set(texts.flatMap((text) => text.match(/[\ue000-\uf8ff]/g) ?? []));
  const standIns = new Map<string, string>();
  let code = PRIVATE_FIRST;
  for (const first of firsts) {
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
 * Returns `content` with the first character of each control token replaced by its stand-in. Treats the beginning of a
 * control token at the end of `content` the same way: the template's text could complete it. Looks at each character
 * once, and from there at no more than the longest control token.
 */
function disarm(content: string, controls: Controls, standIns: ReadonlyMap<string, string>): string {
  const end = content.trimEnd().length; // templates trim messages: the end precedes the trailing spaces
  let disarmed = '';
  for (let i = 0; i < content.length; i++) {
    const char = content.charAt(i);
    const standIn = standIns.get(char);
    disarmed += standIn !== undefined && controls.texts.beginsAt(content, i, end) ? standIn : char;
  }
  return disarmed;
}

/**
 * Returns the ids of the prompt that `template` writes for `messages`, with the assistant's turn opened unless
 * `addGenerationPrompt` is false. Only the template's own text may hold control tokens: a message that writes out
 * `<|im_end|>` gives the ids of those ten characters. Messages without control tokens give the ids of the rendered
 * text. Adds no BOS: the template writes it where the model wants one.
 *
 * Method: before rendering, a private-use character replaces the first character of each control token in a message.
 * After the prompt is split at its control tokens, the original characters return. The template sees everything else
 * unchanged.
 */
export function renderChatIds(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: { readonly addGenerationPrompt?: boolean } = {},
): number[] {
  const controls = findControls(tokenizer);
  const standIns = chooseStandIns(controls.firsts, [template.render(messages, options)]);
  const disarmed = messages.map(({ role, content }) => ({ role, content: disarm(content, controls, standIns) }));
  const originals = new Map([...standIns].map(([original, standIn]) => [standIn, original]));
  const rearm = (text: string) => text.replace(/[\ue000-\uf8ff]/g, (char) => originals.get(char) ?? char);
  const parts = tokenizer.splitSpecial(template.render(disarmed, options));
  return tokenizer.encodeParts(parts.map((part) => (typeof part === 'string' ? rearm(part) : part)));
}
