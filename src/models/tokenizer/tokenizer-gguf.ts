import { FloodgateError } from '../../base/errors.ts';
import type { GgufValue } from '../formats/gguf.ts';
import { readTokenizerDefinition, type TokenizerDefinition } from './tokenizer-json.ts';
import { GPT2_PATTERN } from './tokenizer-pre-tokenizers.ts';

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** Kinds of tokens in a GGUF, as numbered in `tokenizer.ggml.token_type`. */
const TOKEN_UNKNOWN = 2;
const TOKEN_CONTROL = 3;
const TOKEN_USER_DEFINED = 4;
const TOKEN_UNUSED = 5;

const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };

function isolating(pattern: string): object {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated' };
}

/** Llama 3's split; Qwen 2's is the same with single digits. */
function llama3Pattern(digits: string): string {
  return (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
    `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
  );
}

interface PreTokenizerKind {
  readonly splits: readonly object[];
  readonly normalizer?: object;
  /** Takes whole pieces found in the vocabulary as they are, before any merge. */
  readonly ignoresMerges?: boolean;
  readonly addsBos?: boolean;
}

const GPT2_KIND: PreTokenizerKind = { splits: [isolating(GPT2_PATTERN)] };
const LLAMA3_KIND: PreTokenizerKind = {
  splits: [isolating(llama3Pattern('\\p{N}{1,3}'))],
  ignoresMerges: true,
  addsBos: true,
};
const QWEN2_KIND: PreTokenizerKind = {
  splits: [isolating(llama3Pattern('\\p{N}'))],
  normalizer: { type: 'NFC' },
};

/** Split before byte-level BPE, by `tokenizer.ggml.pre`. A file without one counts as GPT-2's. */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizerKind> = new Map([
  ['default', GPT2_KIND],
  ['gpt-2', GPT2_KIND],
  ['gpt2', GPT2_KIND],
  ['smollm', { splits: [{ type: 'Digits', individual_digits: true }, isolating(GPT2_PATTERN)] }],
  ['llama-bpe', LLAMA3_KIND],
  ['llama3', LLAMA3_KIND],
  ['llama-v3', LLAMA3_KIND],
  ['qwen2', QWEN2_KIND],
]);

function stringList(metadata: GgufMetadata, key: string): string[] {
  const value = metadata.get(key);
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new FloodgateError('format', `GGUF tokenizer: ${key} is missing or no list of strings`);
}

/**
 * Returns the token id under `key`, or undefined where the file has none. @throws `format` when it is not a token id.
 */
export function ggufTokenId(metadata: GgufMetadata, key: string, vocabSize: number): number | undefined {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < vocabSize) return value;
  if (value === 0xffffffff || value === -1) return undefined; // written by some converters for "none"
  throw new FloodgateError('format', `GGUF tokenizer: ${key} is no token, got ${String(value)} of ${vocabSize} tokens`);
}

function tokenTypes(metadata: GgufMetadata, count: number): readonly GgufValue[] {
  const types = metadata.get('tokenizer.ggml.token_type');
  if (types === undefined) return [];
  if (Array.isArray(types) && types.length === count) return types;
  throw new FloodgateError('format', `GGUF tokenizer: token_type does not match the ${count} tokens`);
}

function preTokenizerKind(metadata: GgufMetadata): PreTokenizerKind {
  const name = metadata.get('tokenizer.ggml.pre') ?? 'default';
  const kind = PRE_TOKENIZERS.get(String(name));
  if (kind !== undefined) return kind;
  throw new FloodgateError(
    'format',
    `GGUF tokenizer: pre-tokenizer is not supported, got ${String(name).slice(0, 60)}, ` +
      `expected one of ${[...PRE_TOKENIZERS.keys()].join(', ')}`,
    { hint: 'use the model folder with its tokenizer.json instead of the GGUF file' },
  );
}

/** Adds a BOS before and an EOS after, where the file asks for them. */
function postProcessor(metadata: GgufMetadata, addsBos: boolean, vocabSize: number): object | null {
  const asks = (key: string, fallback: boolean) => (metadata.get(`tokenizer.ggml.${key}`) ?? fallback) === true;
  const bosId = asks('add_bos_token', addsBos) ? ggufTokenId(metadata, 'bos_token_id', vocabSize) : undefined;
  const eosId = asks('add_eos_token', false) ? ggufTokenId(metadata, 'eos_token_id', vocabSize) : undefined;
  const special = (name: string, id: number | undefined) => (id === undefined ? [] : [{ SpecialToken: { id: name } }]);
  return {
    type: 'TemplateProcessing',
    single: [...special('bos', bosId), { Sequence: { id: 'A' } }, ...special('eos', eosId)],
    special_tokens: { bos: { ids: [bosId ?? 0] }, eos: { ids: [eosId ?? 0] } },
  };
}

export interface GgufTokenizerDefinition {
  readonly definition: TokenizerDefinition;
  /** Texts of the tokens, by id. */
  readonly tokens: readonly string[];
  /** Tokens that the file declares unused: they are never sampled. */
  readonly unusedIds: readonly number[];
}

function vocabularyOf(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  for (const [id, token] of tokens.entries()) vocab[token] ??= id;
  return vocab;
}

/**
 * Returns the definition of the byte-level BPE tokenizer inside a GGUF, in the shape of tokenizer.json.
 * @throws `format` when a list is missing or malformed, or the tokenizer is of another kind, which it names
 */
export function readGgufTokenizer(metadata: GgufMetadata): GgufTokenizerDefinition {
  const model = metadata.get('tokenizer.ggml.model');
  if (model !== 'gpt2') {
    throw new FloodgateError(
      'format',
      `GGUF tokenizer: model is not supported, got ${String(model).slice(0, 60)}, expected gpt2 (byte-level BPE)`,
      { hint: 'use the model folder with its tokenizer.json instead of the GGUF file' },
    );
  }
  const tokens = stringList(metadata, 'tokenizer.ggml.tokens');
  const types = tokenTypes(metadata, tokens.length);
  const kind = preTokenizerKind(metadata);
  const isAdded = (id: number) => [TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED].includes(Number(types[id] ?? 1));
  const definition = readTokenizerDefinition({
    model: {
      type: 'BPE',
      vocab: vocabularyOf(tokens),
      merges: stringList(metadata, 'tokenizer.ggml.merges'),
      ignore_merges: kind.ignoresMerges ?? false,
    },
    added_tokens: [...tokens.entries()]
      .filter(([id]) => isAdded(id))
      .map(([id, content]) => ({ id, content, normalized: false, special: types[id] !== TOKEN_USER_DEFINED })),
    normalizer: kind.normalizer ?? null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [...kind.splits, BYTE_LEVEL] },
    post_processor: postProcessor(metadata, kind.addsBos ?? false, tokens.length),
    decoder: { type: 'ByteLevel' },
  });
  const unusedIds = [...tokens.keys()].filter((id) => types[id] === TOKEN_UNUSED);
  return { definition, tokens, unusedIds };
}
