import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { countJsonValues } from '../formats/json-file.ts';
import type { ScoredBpeConfig } from './sentencepiece-bpe.ts';

/** A file that fills the memory: the largest real tokenizer.json (256,000 tokens) takes some 35 MB. */
export const MAX_TOKENIZER_JSON_BYTES = 128 * 1024 * 1024;
/**
 * Millions of empty lists, which take twenty times their text in memory. A real file has one value for each token and
 * up to three for each merge.
 */
const MAX_VALUES = 8_000_000;
/** Ids that make a sparse table of gigabytes: the largest real vocabulary has some 260,000 tokens. */
const MAX_VOCABULARY = 1 << 20;
/** A token of a megabyte, compared with every position of a text. */
const MAX_ADDED_TOKEN_LENGTH = 512;
/** A pattern built to exhaust the regex compiler: the longest real one has some 400 characters. */
const MAX_PATTERN_LENGTH = 4_096;
/** Sequences in sequences, to exhaust the stack. */
const MAX_SEQUENCE_DEPTH = 8;
const MAX_COMPONENTS = 64;
/** Quadratic work for each word in WordPiece: real files say 100. */
const MAX_WORD_CHARS = 1_000;

const patternSchema = z.union([
  z.object({ Regex: z.string().min(1).max(MAX_PATTERN_LENGTH) }),
  z.object({ String: z.string().min(1).max(MAX_PATTERN_LENGTH) }),
]);
export type PatternConfig = z.infer<typeof patternSchema>;

const behaviorSchema = z.enum(['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']);
export type SplitBehavior = z.infer<typeof behaviorSchema>;

const flag = (fallback: boolean) =>
  z
    .boolean()
    .nullish()
    .transform((value) => value ?? fallback);
const shortText = z.string().max(MAX_ADDED_TOKEN_LENGTH);

const normalizerSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BertNormalizer'),
    clean_text: flag(true),
    handle_chinese_chars: flag(true),
    strip_accents: z.boolean().nullish(),
    lowercase: flag(true),
  }),
  z.object({ type: z.enum(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents']) }),
  z.object({ type: z.literal('Strip'), strip_left: flag(true), strip_right: flag(true) }),
  z.object({ type: z.literal('Replace'), pattern: patternSchema, content: shortText }),
  z.object({ type: z.literal('Prepend'), prepend: shortText }),
]);
export type NormalizerConfig = z.infer<typeof normalizerSchema>;

const metaspaceFields = {
  type: z.literal('Metaspace'),
  replacement: z.string().min(1).max(2).default('▁'),
  prepend_scheme: z.enum(['always', 'first', 'never']).optional(),
  add_prefix_space: z.boolean().optional(),
  split: flag(true),
};

const preTokenizerSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ByteLevel'), add_prefix_space: flag(true), use_regex: flag(true) }),
  z.object({ type: z.literal('Split'), pattern: patternSchema, behavior: behaviorSchema, invert: flag(false) }),
  z.object({ type: z.literal('Digits'), individual_digits: flag(false) }),
  z.object({ type: z.literal('Punctuation'), behavior: behaviorSchema.default('Isolated') }),
  z.object({ type: z.enum(['BertPreTokenizer', 'Whitespace', 'WhitespaceSplit']) }),
  z.object(metaspaceFields),
]);
export type PreTokenizerConfig = z.infer<typeof preTokenizerSchema>;

const decoderSchema = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['ByteLevel', 'ByteFallback', 'Fuse']) }),
  z.object({ type: z.literal('WordPiece'), prefix: shortText.default('##'), cleanup: flag(true) }),
  z.object(metaspaceFields),
  z.object({ type: z.literal('Replace'), pattern: patternSchema, content: shortText }),
  z.object({
    type: z.literal('Strip'),
    content: z.string().min(1).max(2),
    start: z.int().min(0).max(16),
    stop: z.int().min(0).max(16),
  }),
]);
export type DecoderConfig = z.infer<typeof decoderSchema>;

const namedId = z.tuple([z.string(), z.int().min(0).max(MAX_VOCABULARY)]);
const templateItem = z.union([
  z.object({ SpecialToken: z.object({ id: z.string() }) }),
  z.object({ Sequence: z.object({ id: z.enum(['A', 'B']) }) }),
]);
const postProcessorSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ByteLevel') }),
  z.object({ type: z.enum(['BertProcessing', 'RobertaProcessing']), cls: namedId, sep: namedId }),
  z.object({
    type: z.literal('TemplateProcessing'),
    single: z.array(templateItem).max(MAX_COMPONENTS),
    special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int().min(0).max(MAX_VOCABULARY)).max(16) })),
  }),
]);
export type PostProcessorConfig = z.infer<typeof postProcessorSchema>;

const addedTokenSchema = z.object({
  id: z
    .int()
    .min(0)
    .max(MAX_VOCABULARY - 1),
  content: z.string().min(1).max(MAX_ADDED_TOKEN_LENGTH),
  special: flag(false),
  normalized: flag(true),
  lstrip: flag(false),
  rstrip: flag(false),
  single_word: flag(false),
});
export type AddedToken = z.infer<typeof addedTokenSchema>;

function isTokenId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < MAX_VOCABULARY;
}

function isVocabulary(value: unknown): value is Record<string, number> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const ids: unknown[] = Object.values(value);
  return ids.length > 0 && ids.length <= MAX_VOCABULARY && ids.every(isTokenId);
}

function isScoredVocabulary(value: unknown): value is [string, number][] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_VOCABULARY) return false;
  return value.every((item) => Array.isArray(item) && typeof item[0] === 'string' && Number.isFinite(item[1]));
}

/** A merge as a pair of tokens; files write it as a pair or as two tokens with one space between. */
function toMerge(value: unknown): [string, string] | undefined {
  const pair: unknown = typeof value === 'string' ? value.split(' ') : value;
  if (!Array.isArray(pair) || pair.length !== 2) return undefined;
  const [left, right]: unknown[] = pair;
  return typeof left === 'string' && typeof right === 'string' ? [left, right] : undefined;
}

const mergesSchema = z.unknown().transform((value, context): [string, string][] => {
  const merges: [string, string][] = [];
  for (const item of Array.isArray(value) && value.length <= 2 * MAX_VOCABULARY ? value : [undefined]) {
    const merge = toMerge(item);
    if (merge === undefined) {
      context.addIssue({ code: 'custom', message: 'expected a list of pairs of tokens' });
      return z.NEVER;
    }
    merges.push(merge);
  }
  return merges;
});

/** Word-piece suffixes and prefixes of BPE (as in CLIP) occur in no model here: they are refused, not guessed. */
const noAffix = z.literal('').nullish();
const vocabularySchema = z.custom<Record<string, number>>(isVocabulary, 'expected tokens with ids in range');

const modelSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('BPE'),
    vocab: vocabularySchema,
    merges: mergesSchema,
    unk_token: z.string().nullish(),
    fuse_unk: flag(false),
    byte_fallback: flag(false),
    ignore_merges: flag(false),
    continuing_subword_prefix: noAffix,
    end_of_word_suffix: noAffix,
  }),
  z.object({
    type: z.literal('WordPiece'),
    vocab: vocabularySchema,
    unk_token: z.string(),
    continuing_subword_prefix: z.string().default('##'),
    max_input_chars_per_word: z.int().min(1).max(MAX_WORD_CHARS).default(100),
  }),
  z.object({
    type: z.literal('Unigram'),
    vocab: z.custom<[string, number][]>(isScoredVocabulary, 'expected tokens with scores'),
    unk_id: z.int().min(0).max(MAX_VOCABULARY),
    byte_fallback: z.literal(false).nullish(),
  }),
]);
/** A model of tokenizer.json, or SentencePiece's BPE, which only a GGUF file has. */
export type ModelConfig = z.infer<typeof modelSchema> | ScoredBpeConfig;

/** A checked tokenizer.json. Sequences are flattened; padding and truncation are omitted, since callers decide them. */
export interface TokenizerDefinition {
  readonly model: ModelConfig;
  readonly addedTokens: readonly AddedToken[];
  readonly normalizers: readonly NormalizerConfig[];
  readonly preTokenizers: readonly PreTokenizerConfig[];
  readonly postProcessors: readonly PostProcessorConfig[];
  readonly decoders: readonly DecoderConfig[];
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function check<T>(schema: z.ZodType<T>, value: unknown, part: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = [part, ...(issue?.path ?? [])].join('.');
  const type = isFields(value) && typeof value.type === 'string' ? ` of type ${value.type.slice(0, 40)}` : '';
  throw new FloodgateError(
    'format',
    `tokenizer.json: a ${part}${type} is malformed or not supported at ${where}: ${issue?.message ?? 'unknown'}`,
  );
}

/** Returns the leaves of a component, in order: a nested sequence equals the flat one. */
function leavesOf(value: unknown, listKey: string, depth = 0): unknown[] {
  if (value === null || value === undefined) return [];
  if (!isFields(value) || value.type !== 'Sequence') return [value];
  const items = value[listKey];
  if (depth >= MAX_SEQUENCE_DEPTH || !Array.isArray(items) || items.length > MAX_COMPONENTS) {
    throw new FloodgateError('format', `tokenizer.json: ${listKey} are nested too deep, too many or no list`);
  }
  return items.flatMap((item) => leavesOf(item, listKey, depth + 1));
}

/** Adds the model's type, which older files omit; the fields determine it. */
function withModelType(model: unknown): unknown {
  if (!isFields(model) || typeof model.type === 'string') return model;
  const type = 'merges' in model ? 'BPE' : Array.isArray(model.vocab) ? 'Unigram' : 'WordPiece';
  return { ...model, type };
}

/** Checks the model of a tokenizer.json. @throws `format` */
export function parseModel(value: unknown): ModelConfig {
  return check(modelSchema, withModelType(value), 'model');
}

/** Checks everything of a tokenizer.json but its model. @throws `format` naming the part at fault. */
export function readTokenizerParts(value: unknown): Omit<TokenizerDefinition, 'model'> {
  if (!isFields(value))
    throw new FloodgateError('format', 'tokenizer.json: not an object, expected the fields of a tokenizer');
  const list = <T>(schema: z.ZodType<T>, field: string, listKey: string): T[] =>
    leavesOf(value[field], listKey).map((leaf) => check(schema, leaf, field));
  return {
    addedTokens: check(z.array(addedTokenSchema).max(MAX_VOCABULARY), value.added_tokens ?? [], 'added_tokens'),
    normalizers: list(normalizerSchema, 'normalizer', 'normalizers'),
    preTokenizers: list(preTokenizerSchema, 'pre_tokenizer', 'pretokenizers'),
    postProcessors: list(postProcessorSchema, 'post_processor', 'processors'),
    decoders: list(decoderSchema, 'decoder', 'decoders'),
  };
}

/**
 * Checks a value in the shape of tokenizer.json and returns its definition. @throws `format` naming the part at fault.
 */
export function readTokenizerDefinition(value: unknown): TokenizerDefinition {
  const model = parseModel(isFields(value) ? value.model : undefined);
  return { model, ...readTokenizerParts(value) };
}

/** Parses and checks the text of a tokenizer.json. @throws `format` */
export function parseTokenizerJson(text: string): TokenizerDefinition {
  if (text.length > MAX_TOKENIZER_JSON_BYTES) {
    throw new FloodgateError('format', `tokenizer.json: too large, got ${text.length} characters`);
  }
  const values = countJsonValues(Buffer.from(text, 'latin1')); // the characters it counts take one byte in any encoding
  if (values > MAX_VALUES) {
    throw new FloodgateError('format', `tokenizer.json: got ${values} values, expected at most ${MAX_VALUES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FloodgateError('format', 'tokenizer.json: not valid JSON', { cause });
  }
  return readTokenizerDefinition(value);
}
