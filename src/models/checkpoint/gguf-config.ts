import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import type { GgufFile, GgufValue } from '../formats/gguf.ts';
import { shownGgufValue } from '../formats/gguf-values.ts';
import type { DecoderConfig } from './decoder-config.ts';
import { type DecoderShape, epsilon, headProblem, modelSize } from './decoder-shape.ts';
import { GEMMA3_DEFAULTS, type Gemma3Config } from './gemma-config.ts';
import { type RopeScaling, recoverLlama3Scaling, ropeFactor, yarnAttentionFactor } from './rope-scaling.ts';

/** GGUF architectures that a supported decoder family covers. */
export type GgufArchitecture = 'llama' | 'qwen2' | 'qwen3' | 'gemma3' | 'gpt2';

const ARCHITECTURES: readonly GgufArchitecture[] = ['llama', 'qwen2', 'qwen3', 'gemma3', 'gpt2'];

/** A number of tokens or experts, where 0 means none. */
const countOrNone = z.int().nonnegative();

/** Typed reads of one file's metadata; keys are given without the architecture's prefix. */
interface MetadataReader {
  readonly architecture: GgufArchitecture;
  value(key: string): GgufValue | undefined;
  /** A number that fits `schema`, which is the schema of the same field in a config.json. */
  number(key: string, schema: z.ZodType<number>, fallback?: number): number;
  size(key: string, fallback?: number): number;
}

function isArchitecture(value: unknown): value is GgufArchitecture {
  return ARCHITECTURES.some((architecture) => architecture === value);
}

function fail(what: string, hint?: string): FloodgateError {
  return new FloodgateError('format', `read GGUF metadata: ${what}`, hint === undefined ? {} : { hint });
}

function metadataReader(metadata: ReadonlyMap<string, GgufValue>): MetadataReader {
  const architecture = metadata.get('general.architecture');
  if (!isArchitecture(architecture)) {
    const shown = shownGgufValue(architecture);
    throw fail(`general.architecture is ${shown}, expected one of ${ARCHITECTURES.join(', ')}`);
  }
  const number = (key: string, schema: z.ZodType<number>, fallback?: number): number => {
    const value = metadata.get(`${architecture}.${key}`) ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw fail(`${architecture}.${key} is ${shownGgufValue(value)}, expected a number`);
    }
    const { error } = schema.safeParse(value);
    if (error !== undefined) throw fail(`${architecture}.${key} is ${value}: ${error.issues[0]?.message}`);
    return value;
  };
  return {
    architecture,
    value: (key) => metadata.get(`${architecture}.${key}`),
    number,
    size: (key, fallback) => number(key, modelSize, fallback),
  };
}

/** Rows of the embedding, from the weights: a padded vocabulary has more rows than the tokenizer has tokens. */
function vocabularyRows(file: GgufFile, width: number): number {
  const shape = file.tensors.get('token_embd.weight')?.shape ?? [];
  const [rows, columns] = shape;
  if (shape.length !== 2 || rows === undefined || columns !== width) {
    throw fail(`token_embd.weight has shape [${shape}], expected [vocabulary, ${width}]`);
  }
  return rows;
}

/** Reads the sizes that every architecture names alike. */
function parseShape(reader: MetadataReader, file: GgufFile) {
  const width = reader.size('embedding_length');
  const heads = reader.size('attention.head_count');
  const kvHeads = reader.size('attention.head_count_kv', heads);
  const headWidth = reader.size('attention.key_length', width / heads);
  const problem = headProblem({ family: reader.architecture, width, heads, kvHeads, headWidth });
  if (problem !== undefined) throw fail(problem);
  if (reader.size('attention.value_length', headWidth) !== headWidth) {
    throw fail('key and value heads of different widths are not supported');
  }
  return {
    vocabSize: vocabularyRows(file, width),
    width,
    layers: reader.size('block_count'),
    heads,
    kvHeads,
    headWidth,
    feedForwardWidth: reader.size('feed_forward_length'),
    maxPositions: reader.size('context_length'),
    tiedEmbeddings: !file.tensors.has('output.weight'),
  };
}

function parseScaling(reader: MetadataReader, maxPositions: number): RopeScaling {
  const kind =
    reader.value('rope.scaling.type') ?? (reader.value('rope.scale_linear') === undefined ? 'none' : 'linear');
  switch (kind) {
    case 'none':
      return { kind: 'none' };
    case 'linear': {
      const factor = reader.number(
        'rope.scaling.factor',
        ropeFactor,
        reader.number('rope.scale_linear', ropeFactor, 1),
      );
      return factor === 1 ? { kind: 'none' } : { kind: 'linear', factor };
    }
    case 'yarn': {
      const factor = reader.number('rope.scaling.factor', ropeFactor);
      return {
        kind: 'yarn',
        factor,
        originalMaxPositions: reader.size('rope.scaling.original_context_length', maxPositions),
        betaFast: reader.number('rope.scaling.yarn_beta_fast', ropeFactor, 32),
        betaSlow: reader.number('rope.scaling.yarn_beta_slow', ropeFactor, 1),
        // llama.cpp multiplies its own attention factor on top of the paper's.
        attentionFactor: reader.number('rope.scaling.attn_factor', ropeFactor, 1) * yarnAttentionFactor(factor),
      };
    }
    default:
      throw fail(`rope scaling ${shownGgufValue(kind)} is not supported, expected none, linear or yarn`);
  }
}

/**
 * Refuses features that would change the result and are not supported: experts, sliding windows, partly rotated heads.
 */
function refuseUnsupported(reader: MetadataReader, headWidth: number, maxPositions: number): void {
  if (reader.number('expert_count', countOrNone, 0) !== 0) throw fail('mixtures of experts are not supported');
  const window = reader.number('attention.sliding_window', countOrNone, 0);
  if (reader.architecture !== 'gemma3' && window !== 0 && window < maxPositions)
    throw fail(`a sliding window of ${window} tokens is not supported`);
  const rotated = reader.number('rope.dimension_count', modelSize, headWidth);
  if (rotated !== headWidth) throw fail(`rope.dimension_count is ${rotated}, expected the head's width ${headWidth}`);
}

/** Layers of Gemma 3 27B, the one size whose query scale is not the head's width; no file says so. */
const GEMMA3_27B_LAYERS = 62;

/** Reads the fields of Gemma 3. llama.cpp has those that older files omit in its code. */
function parseGemma3(reader: MetadataReader, shape: Omit<DecoderShape, 'normEpsilon'>): Gemma3Config {
  const softcaps = ['attn_logit_softcapping', 'final_logit_softcapping'];
  if (softcaps.some((key) => reader.value(key) !== undefined)) throw fail('soft-capped logits are not supported');
  return {
    family: 'gemma3',
    ...shape,
    normEpsilon: reader.number('attention.layer_norm_rms_epsilon', epsilon),
    ropeBase: reader.number('rope.freq_base', ropeFactor, GEMMA3_DEFAULTS.ropeBase),
    ropeScaling: parseScaling(reader, shape.maxPositions),
    localRotation: {
      ropeBase: reader.number('rope.freq_base_swa', ropeFactor, GEMMA3_DEFAULTS.localRopeBase),
      ropeScaling: { kind: 'none' },
    },
    slidingWindow: reader.size('attention.sliding_window'),
    globalEvery: reader.size('attention.sliding_window_pattern', GEMMA3_DEFAULTS.globalEvery),
    queryScalar: shape.layers === GEMMA3_27B_LAYERS ? shape.width / shape.heads : shape.headWidth,
  };
}

/** Returns the architecture that a GGUF file names. @throws `format` when no supported decoder family covers it. */
export function parseGgufArchitecture(metadata: ReadonlyMap<string, GgufValue>): GgufArchitecture {
  return metadataReader(metadata).architecture;
}

/**
 * Parses the decoder that a GGUF file describes. A head stored separately counts as untied, whatever its values.
 * `ropeFactors` are the values of `rope_freqs.weight` where the file has them. They encode Llama 3's scaling, which the
 * metadata does not contain.
 * @throws `format` when a field is missing, of the wrong type, or asks for an unsupported feature.
 */
export function parseGgufConfig(file: GgufFile, ropeFactors?: Float32Array): DecoderConfig {
  const reader = metadataReader(file.metadata);
  const shape = parseShape(reader, file);
  if (reader.architecture === 'gpt2') {
    return { family: 'gpt2', ...shape, normEpsilon: reader.number('attention.layer_norm_epsilon', epsilon) };
  }
  refuseUnsupported(reader, shape.headWidth, shape.maxPositions);
  if (reader.architecture === 'gemma3') return parseGemma3(reader, shape);
  const ropeBase = reader.number('rope.freq_base', ropeFactor, 10_000);
  const scaling = parseScaling(reader, shape.maxPositions);
  if (ropeFactors !== undefined && ropeFactors.length !== shape.headWidth / 2) {
    throw fail(`rope_freqs.weight has ${ropeFactors.length} values, expected ${shape.headWidth / 2}`);
  }
  return {
    family: 'llama',
    ...shape,
    normEpsilon: reader.number('attention.layer_norm_rms_epsilon', epsilon),
    ropeBase,
    ropeScaling: ropeFactors === undefined ? scaling : recoverLlama3Scaling(ropeFactors, ropeBase),
    qkvBias: reader.architecture === 'qwen2',
    qkNorm: reader.architecture === 'qwen3',
  };
}
