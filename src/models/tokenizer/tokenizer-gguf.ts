import { FloodgateError } from '../../base/errors.ts';
import type { GgufValue } from '../formats/gguf.ts';
import { GPT2_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN } from './known-patterns.ts';
import type { ScoredBpeConfig } from './sentencepiece-bpe.ts';
import { type ModelConfig, parseModel, readTokenizerParts, type TokenizerDefinition } from './tokenizer-json.ts';

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** Kinds of tokens in a GGUF, as numbered in `tokenizer.ggml.token_type`. */
const TOKEN_NORMAL = 1;
const TOKEN_UNKNOWN = 2;
const TOKEN_CONTROL = 3;
const TOKEN_USER_DEFINED = 4;
const TOKEN_UNUSED = 5;

/** SentencePiece's visible space. */
const SPACE_MARK = '▁';
const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };

function isolating(pattern: string): object {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated' };
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
  splits: [isolating(LLAMA3_PATTERN)],
  ignoresMerges: true,
  addsBos: true,
};
const QWEN2_KIND: PreTokenizerKind = {
  splits: [isolating(QWEN2_PATTERN)],
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

/** The scores of SentencePiece's tokens, by id. */
function tokenScores(metadata: GgufMetadata, count: number): readonly number[] {
  const scores = metadata.get('tokenizer.ggml.scores');
  const isScores = Array.isArray(scores) && scores.every((score) => typeof score === 'number' && !Number.isNaN(score));
  if (isScores && scores.length === count) return scores as number[];
  throw new FloodgateError('format', `GGUF tokenizer: scores are missing or do not match the ${count} tokens`);
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

/** The parts of tokenizer.json in which the kinds of tokenizer differ. */
interface PipelineParts {
  readonly model: ModelConfig;
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly decoder: object;
  readonly addsBos: boolean;
}

function byteLevelParts(metadata: GgufMetadata, tokens: readonly string[]): PipelineParts {
  const kind = preTokenizerKind(metadata);
  return {
    model: parseModel({
      type: 'BPE',
      vocab: vocabularyOf(tokens),
      merges: stringList(metadata, 'tokenizer.ggml.merges'),
      ignore_merges: kind.ignoresMerges ?? false,
    }),
    normalizer: kind.normalizer ?? null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [...kind.splits, BYTE_LEVEL] },
    decoder: { type: 'ByteLevel' },
    addsBos: kind.addsBos ?? false,
  };
}

/** Tokens, scores and bytes of SentencePiece's BPE. */
function scoredModel(metadata: GgufMetadata, tokens: readonly string[], types: readonly GgufValue[]): ScoredBpeConfig {
  const scores = tokenScores(metadata, tokens.length);
  const vocab = new Map<string, number>();
  for (const [id, token] of tokens.entries()) if (!vocab.has(token)) vocab.set(token, id);
  const joins = (id: number): boolean => [TOKEN_NORMAL, TOKEN_UNUSED].includes(Number(types[id] ?? TOKEN_NORMAL));
  return {
    type: 'ScoredBPE',
    vocab,
    scores: new Map([...vocab].filter(([, id]) => joins(id)).map(([token, id]) => [token, scores[id] as number])),
    byteIds: Array.from({ length: 256 }, (_, byte) =>
      vocab.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
    ),
    unknownId: ggufTokenId(metadata, 'unknown_token_id', tokens.length),
  };
}

/** SentencePiece with scores: spaces become a mark, unknown characters become their bytes. */
function sentencePieceParts(
  metadata: GgufMetadata,
  tokens: readonly string[],
  types: readonly GgufValue[],
): PipelineParts {
  const hasPrefix = metadata.get('tokenizer.ggml.add_space_prefix') !== false;
  const replace = (from: string, content: string) => ({ type: 'Replace', pattern: { String: from }, content });
  return {
    model: scoredModel(metadata, tokens, types),
    normalizer: {
      type: 'Sequence',
      normalizers: [...(hasPrefix ? [{ type: 'Prepend', prepend: SPACE_MARK }] : []), replace(' ', SPACE_MARK)],
    },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        replace(SPACE_MARK, ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(hasPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    addsBos: true,
  };
}

function pipelineParts(metadata: GgufMetadata, tokens: readonly string[], types: readonly GgufValue[]): PipelineParts {
  const model = metadata.get('tokenizer.ggml.model');
  switch (model) {
    case 'gpt2':
      return byteLevelParts(metadata, tokens);
    case 'llama':
      return sentencePieceParts(metadata, tokens, types);
    default:
      throw new FloodgateError(
        'format',
        `GGUF tokenizer: model is not supported, got ${String(model).slice(0, 60)}, ` +
          'expected gpt2 (byte-level BPE) or llama (SentencePiece)',
        { hint: 'use the model folder with its tokenizer.json instead of the GGUF file' },
      );
  }
}

/**
 * Returns the definition of the tokenizer inside a GGUF, byte-level BPE or SentencePiece with scores, in the shape of
 * tokenizer.json.
 * @throws `format` when a list is missing or malformed, or the tokenizer is of another kind, which it names
 */
export function readGgufTokenizer(metadata: GgufMetadata): GgufTokenizerDefinition {
  const tokens = stringList(metadata, 'tokenizer.ggml.tokens');
  const types = tokenTypes(metadata, tokens.length);
  const { addsBos, model, ...parts } = pipelineParts(metadata, tokens, types);
  const isAdded = (id: number) => [TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED].includes(Number(types[id] ?? 1));
  const checked = readTokenizerParts({
    ...parts,
    added_tokens: [...tokens.entries()]
      .filter(([id]) => isAdded(id))
      .map(([id, content]) => ({ id, content, normalized: false, special: types[id] !== TOKEN_USER_DEFINED })),
    post_processor: postProcessor(metadata, addsBos, tokens.length),
  });
  const definition = { model, ...checked };
  const unusedIds = [...tokens.keys()].filter((id) => types[id] === TOKEN_UNUSED);
  return { definition, tokens, unusedIds };
}
