import { join } from 'node:path';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import { parseJson } from '../formats/json-file.ts';
import { type ChatTemplate, createChatTemplate } from './chat-template.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';
import { createSplitAtTokens } from './tokenizer-added-tokens.ts';
import { type GgufMetadata, ggufTokenId, readGgufTokenizer } from './tokenizer-gguf.ts';
import {
  type AddedToken,
  MAX_TOKENIZER_JSON_BYTES,
  parseTokenizerJson,
  type TokenizerDefinition,
} from './tokenizer-json.ts';

export interface LoadedTokenizer {
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate | undefined;
}

const ROLES = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token'] as const;
type Role = (typeof ROLES)[number];
type RoleTokens = Partial<Record<Role, string>>;

const tokenSchema = z
  .union([z.string(), z.object({ content: z.string() }).transform((token) => token.content)])
  .nullish();
const roleFields = Object.fromEntries(ROLES.map((role) => [role, tokenSchema])) as Record<Role, typeof tokenSchema>;
const namedTemplates = z.array(z.object({ name: z.string(), template: z.string() })).min(1);
const tokenizerConfigSchema = z.object({
  ...roleFields,
  chat_template: z.union([z.string(), namedTemplates]).nullish(),
  clean_up_tokenization_spaces: z.boolean().nullish(),
});
const specialTokensMapSchema = z.object(roleFields);
const generationConfigSchema = z.object({ eos_token_id: z.union([z.int(), z.array(z.int())]).nullish() });

/** Returns the text of an optional file, or undefined where there is none. */
async function readOptional(folder: string, name: string): Promise<string | undefined> {
  const tooLarge = (size: number) => new FloodgateError('format', `tokenizer: ${name} is too large, got ${size} bytes`);
  try {
    return (await readRegularFile(join(folder, name), MAX_TOKENIZER_JSON_BYTES, tooLarge)).toString('utf8');
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    if (code === 'ENOENT') return undefined;
    throw new FloodgateError('format', `tokenizer: ${name} cannot be read (${code}), expected a file`, { cause });
  }
}

async function readOptionalJson<T>(folder: string, name: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readOptional(folder, name);
  if (text === undefined) return undefined;
  const result = schema.safeParse(parseJson(text, `tokenizer: ${name}`));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new FloodgateError('format', `tokenizer: ${name} is malformed at ${issue?.path.join('.')}: ${issue?.message}`);
}

function mergeRoles(config: Partial<Record<Role, string | null | undefined>>[]): RoleTokens {
  const tokens: RoleTokens = {};
  for (const source of config) {
    for (const role of ROLES) {
      const token = source[role];
      if (typeof token === 'string') tokens[role] ??= token;
    }
  }
  return tokens;
}

function idOfToken(definition: TokenizerDefinition, token: string | undefined): number | undefined {
  if (token === undefined) return undefined;
  const added = definition.addedTokens.find((candidate) => candidate.content === token);
  if (added !== undefined) return added.id;
  const { model } = definition;
  if (model.type === 'ScoredBPE') return model.vocab.get(token);
  if (model.type !== 'Unigram') return Object.hasOwn(model.vocab, token) ? model.vocab[token] : undefined;
  const index = model.vocab.findIndex(([text]) => text === token);
  return index < 0 ? undefined : index;
}

/** Chooses the template named `default` where a file has several, else the first. */
function chooseTemplate(template: string | z.infer<typeof namedTemplates> | null | undefined): string | undefined {
  if (typeof template === 'string') return template;
  return (template?.find((named) => named.name === 'default') ?? template?.[0])?.template;
}

/**
 * Returns the tokenizer (and chat template, if any) of a model folder. Reads tokenizer.json and, where present,
 * tokenizer_config.json, special_tokens_map.json, generation_config.json and chat_template.jinja.
 * @throws `model` when there is no tokenizer.json, `format` when a file is malformed
 */
export async function loadTokenizerFromFolder(folder: string): Promise<LoadedTokenizer> {
  const text = await readOptional(folder, 'tokenizer.json');
  if (text === undefined) {
    throw new FloodgateError('model', `tokenizer: no tokenizer.json in the model folder, got ${folder}`, {
      hint: 'a model saved in the old format needs its tokenizer saved again as a fast tokenizer',
    });
  }
  const definition = parseTokenizerJson(text);
  const config = (await readOptionalJson(folder, 'tokenizer_config.json', tokenizerConfigSchema)) ?? {};
  const map = (await readOptionalJson(folder, 'special_tokens_map.json', specialTokensMapSchema)) ?? {};
  const generation = (await readOptionalJson(folder, 'generation_config.json', generationConfigSchema)) ?? {};
  const roles = mergeRoles([config, map]);
  const source = (await readOptional(folder, 'chat_template.jinja')) ?? chooseTemplate(config.chat_template);
  const chatTemplate = source === undefined ? undefined : createChatTemplate(source, roles);
  const eosIds = [idOfToken(definition, roles.eos_token), ...[generation.eos_token_id ?? []].flat()];
  const tokenizer = createTokenizer(definition, {
    bosId: idOfToken(definition, roles.bos_token),
    padId: idOfToken(definition, roles.pad_token),
    endIds: endIdsOf({
      eosIds: eosIds.filter((id) => id !== undefined),
      addedTokens: definition.addedTokens,
      chatTemplate,
    }),
    // transformers leaves byte-level text alone even where the file asks for the clean-up, which would corrupt it
    cleansUpSpaces: config.clean_up_tokenization_spaces === true && definition.model.type !== 'BPE',
  });
  return { tokenizer, chatTemplate };
}

/**
 * Returns the tokenizer (and chat template, if any) from the metadata of a GGUF file.
 * @throws `format` when it is malformed or of an unsupported kind, which the message names
 */
export function tokenizerFromGguf(metadata: GgufMetadata): LoadedTokenizer {
  const { definition, tokens, unusedIds } = readGgufTokenizer(metadata);
  const id = (key: string) => ggufTokenId(metadata, key, tokens.length);
  const [bosId, padId] = [id('bos_token_id'), id('padding_token_id')];
  const eosIds = [id('eos_token_id'), id('eot_token_id'), id('eom_token_id')].filter((end) => end !== undefined);
  const textOf = (role: Role, tokenId: number | undefined): RoleTokens => {
    const text = tokenId === undefined ? undefined : tokens[tokenId];
    return text === undefined ? {} : { [role]: text };
  };
  const source = metadata.get('tokenizer.chat_template');
  const chatTemplate =
    typeof source === 'string'
      ? createChatTemplate(source, { ...textOf('bos_token', bosId), ...textOf('eos_token', eosIds[0]) })
      : undefined;
  const tokenizer = createTokenizer(definition, {
    bosId,
    padId,
    endIds: endIdsOf({ eosIds, addedTokens: definition.addedTokens, chatTemplate }),
    extraSpecialIds: unusedIds,
  });
  return { tokenizer, chatTemplate };
}

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

/**
 * The first control token that the template writes after an assistant's message: the model was trained to stop with it.
 */
function endOfTurn(template: ChatTemplate, addedTokens: readonly AddedToken[]): number | undefined {
  let text: string;
  try {
    const messages = [
      { role: 'user', content: 'QUESTION' },
      { role: 'assistant', content: ANSWER },
    ] as const;
    text = template.render(messages, { addGenerationPrompt: false });
  } catch {
    return undefined; // the template refuses even this plain conversation: no answer
  }
  const answerAt = text.lastIndexOf(ANSWER);
  if (answerAt < 0) return undefined;
  const split = createSplitAtTokens(addedTokens.filter((token) => token.special));
  return split(text.slice(answerAt + ANSWER.length)).find((part) => typeof part === 'number');
}

export interface EndTokenSources {
  /** Ids that the model's files name as EOS, the main one first. */
  readonly eosIds: readonly number[];
  readonly addedTokens: readonly AddedToken[];
  readonly chatTemplate: ChatTemplate | undefined;
}

/** Returns every id that ends a generation, without repeats: the named ones, the template's, the well-known ones. */
export function endIdsOf(sources: EndTokenSources): number[] {
  const { eosIds, addedTokens, chatTemplate } = sources;
  const turnEnd = chatTemplate === undefined ? undefined : endOfTurn(chatTemplate, addedTokens);
  const known = addedTokens.filter((token) => token.special && END_TOKENS.has(token.content)).map((token) => token.id);
  return [...new Set([...eosIds, ...(turnEnd === undefined ? [] : [turnEnd]), ...known])];
}
