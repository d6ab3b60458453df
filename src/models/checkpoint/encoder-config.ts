import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { parseFields } from '../formats/json-file.ts';
import { epsilon, modelSize } from './decoder-shape.ts';

interface EncoderShape {
  readonly vocabSize: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForwardWidth: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly padId: number;
}

/** BERT, RoBERTa and DistilBERT encoders; `labels` is empty for a sentence encoder. */
export interface EncoderConfig extends EncoderShape {
  readonly family: 'bert' | 'roberta' | 'distilbert';
  /** Rows of the token-type table; 0 for DistilBERT. */
  readonly tokenTypes: number;
  /** Label names in output order, from `id2label`; empty when the checkpoint has no classification head. */
  readonly labels: readonly string[];
  /** How a classifier's logits become probabilities (`problem_type`). */
  readonly problem: 'single-label' | 'multi-label';
  /** Longest input in tokens, special tokens included. */
  readonly maxTokens: number;
}

export const labelFields = {
  id2label: z.record(z.string(), z.string()).nullish(),
  problem_type: z.string().nullish(),
};

const bertFields = z.looseObject({
  vocab_size: modelSize,
  hidden_size: modelSize,
  num_hidden_layers: modelSize,
  num_attention_heads: modelSize,
  intermediate_size: modelSize,
  max_position_embeddings: modelSize,
  type_vocab_size: modelSize.default(2),
  layer_norm_eps: epsilon.default(1e-12),
  pad_token_id: z.int().nonnegative().nullish(),
  hidden_act: z.string().default('gelu'),
  position_embedding_type: z.string().nullish(),
  is_decoder: z.boolean().nullish(),
  ...labelFields,
});

const distilbertFields = z.looseObject({
  vocab_size: modelSize,
  dim: modelSize,
  n_layers: modelSize,
  n_heads: modelSize,
  hidden_dim: modelSize,
  max_position_embeddings: modelSize,
  pad_token_id: z.int().nonnegative().nullish(),
  activation: z.string().default('gelu'),
  ...labelFields,
});

/** DistilBERT's config has no such field; its layers use this value (`modeling_distilbert.py`). */
const DISTILBERT_NORM_EPSILON = 1e-12;

const ENCODER_TYPES = ['bert', 'roberta', 'distilbert'] as const;
export type EncoderType = (typeof ENCODER_TYPES)[number];

/** Facts of the checkpoint beyond its config. */
export interface EncoderExtras {
  /** Outputs of the classification head; undefined for a sentence encoder. */
  readonly labelCount: number | undefined;
  /** A tighter limit than the positions, from the tokenizer's or the sentence encoder's own files. */
  readonly tokenLimit: number | undefined;
}

const WHAT = 'read config.json';

function fail(what: string): FloodgateError {
  return new FloodgateError('format', `${WHAT}: ${what}`);
}

/** Whether a `model_type` of config.json names a supported encoder family. */
export function isEncoderType(modelType: string): modelType is EncoderType {
  return ENCODER_TYPES.some((known) => known === modelType);
}

interface LabelFields {
  readonly id2label?: Readonly<Record<string, string>> | null | undefined;
  readonly problem_type?: string | null | undefined;
}

/** Label names in output order; `LABEL_0` and so on where the config names none, as `transformers` does. */
export function parseLabels(fields: LabelFields, count: number | undefined): readonly string[] {
  if (count === undefined) return [];
  const names = fields.id2label;
  if (names === null || names === undefined) return Array.from({ length: count }, (_, i) => `LABEL_${i}`);
  const labels = Array.from({ length: count }, (_, i) => (Object.hasOwn(names, i) ? names[i] : undefined));
  if (Object.keys(names).length !== count || !labels.every((label) => label !== undefined)) {
    throw fail(`id2label names ${Object.keys(names).length} labels, expected 0 to ${count - 1} as the head has them`);
  }
  return labels;
}

/** Chooses the problem as the text classification pipeline of `transformers` does: a single output is a sigmoid too. */
export function parseProblem(fields: LabelFields, count: number | undefined): EncoderConfig['problem'] {
  switch (fields.problem_type) {
    case 'multi_label_classification':
      return 'multi-label';
    case 'single_label_classification':
      return 'single-label';
    case null:
    case undefined:
      return count === 1 ? 'multi-label' : 'single-label';
    default:
      throw fail(`problem_type ${JSON.stringify(fields.problem_type)} is not supported, expected a classification`);
  }
}

function checkHeads(width: number, heads: number): void {
  if (width % heads !== 0) throw fail(`a width of ${width} does not divide into ${heads} heads`);
}

function checkActivation(activation: string): void {
  if (activation !== 'gelu') throw fail(`activation is ${JSON.stringify(activation)}, expected "gelu"`);
}

function parseDistilbert(json: unknown, extras: EncoderExtras): EncoderConfig {
  const fields = parseFields(distilbertFields, json, WHAT);
  checkActivation(fields.activation);
  checkHeads(fields.dim, fields.n_heads);
  return {
    family: 'distilbert',
    vocabSize: fields.vocab_size,
    width: fields.dim,
    layers: fields.n_layers,
    heads: fields.n_heads,
    feedForwardWidth: fields.hidden_dim,
    maxPositions: fields.max_position_embeddings,
    normEpsilon: DISTILBERT_NORM_EPSILON,
    padId: fields.pad_token_id ?? 0,
    tokenTypes: 0,
    labels: parseLabels(fields, extras.labelCount),
    problem: parseProblem(fields, extras.labelCount),
    maxTokens: Math.min(fields.max_position_embeddings, extras.tokenLimit ?? Number.POSITIVE_INFINITY),
  };
}

function parseBertLike(json: unknown, family: 'bert' | 'roberta', extras: EncoderExtras): EncoderConfig {
  const fields = parseFields(bertFields, json, WHAT);
  checkActivation(fields.hidden_act);
  checkHeads(fields.hidden_size, fields.num_attention_heads);
  const positions = fields.position_embedding_type ?? 'absolute';
  if (positions !== 'absolute')
    throw fail(`position_embedding_type is ${JSON.stringify(positions)}, expected "absolute"`);
  if (fields.is_decoder === true) throw fail('is_decoder is true, expected an encoder');
  const padId = fields.pad_token_id ?? (family === 'roberta' ? 1 : 0);
  // RoBERTa counts positions from padId + 1, so no token uses the rows of its table before that.
  const usable = fields.max_position_embeddings - (family === 'roberta' ? padId + 1 : 0);
  if (usable < 1) throw fail(`${fields.max_position_embeddings} positions leave none after pad id ${padId}`);
  return {
    family,
    vocabSize: fields.vocab_size,
    width: fields.hidden_size,
    layers: fields.num_hidden_layers,
    heads: fields.num_attention_heads,
    feedForwardWidth: fields.intermediate_size,
    maxPositions: fields.max_position_embeddings,
    normEpsilon: fields.layer_norm_eps,
    padId,
    tokenTypes: fields.type_vocab_size,
    labels: parseLabels(fields, extras.labelCount),
    problem: parseProblem(fields, extras.labelCount),
    maxTokens: Math.min(usable, extras.tokenLimit ?? Number.POSITIVE_INFINITY),
  };
}

/**
 * Parses the encoder that a config.json of `transformers` 4 or 5 describes (bert, roberta, distilbert).
 * @throws `format` when a field is missing, of the wrong type, or asks for an unsupported feature.
 */
export function parseEncoderConfig(json: unknown, modelType: EncoderType, extras: EncoderExtras): EncoderConfig {
  return modelType === 'distilbert' ? parseDistilbert(json, extras) : parseBertLike(json, modelType, extras);
}
