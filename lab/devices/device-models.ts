import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createIdTokenizer } from '../../bench/sides/id-tokenizer.ts';
import { randomWeights } from '../../bench/sides/random-weights.ts';
import { judgeConfig, stepShape } from '../../bench/sides/shapes.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { packageFile } from '../../src/base/package-root.ts';
import {
  type DecoderCheckpoint,
  type EncoderCheckpoint,
  openCheckpoint,
} from '../../src/models/checkpoint/checkpoint.ts';
import type { EncoderConfig } from '../../src/models/checkpoint/encoder-config.ts';
import { expectedDecoderTensors, expectedEncoderTensors } from '../../src/models/checkpoint/expected-tensors.ts';
import { createOpenModels } from '../../src/models/open-models.ts';

/** The models of one comparison, and the sizes of its batches. */
export interface DeviceModels {
  readonly decoder: DecoderCheckpoint;
  readonly classifier: EncoderCheckpoint;
  readonly encoder: EncoderCheckpoint;
  readonly sizes: BatchSizes;
}

export interface BatchSizes {
  /** Attacks of one step, and tokens of the longest. */
  readonly rows: number;
  readonly tokens: number;
  readonly prompt: number;
  /** Sequences generated together, and texts judged together. */
  readonly responses: number;
}

/** `full` is the micro-step of docs/performance.md; `small` shows differences, and its times mean nothing. */
export const BATCHES = {
  small: { rows: 3, tokens: 6, prompt: 7, responses: 4 },
  full: { rows: 16, tokens: 20, prompt: 56, responses: 80 },
} as const satisfies Record<string, BatchSizes>;
export type BatchName = keyof typeof BATCHES;

/** Shapes of GPT-2 small, RoBERTa-base and MiniLM with random weights: nothing to download. */
export const SHAPES = 'gpt2-small';
/** The fixtures of the tests: seconds on a software device. */
export const FIXTURES = 'tiny';

/** MiniLM-L6: mean pooling, no head. */
const ENCODER: EncoderConfig = {
  ...judgeConfig(false),
  family: 'bert',
  width: 384,
  layers: 6,
  feedForwardWidth: 1536,
  vocabSize: 30522,
  maxPositions: 512,
  padId: 0,
  tokenTypes: 2,
  labels: [],
};

async function shapedEncoder(cacheDir: string, name: string, config: EncoderConfig): Promise<EncoderCheckpoint> {
  const weights = await randomWeights(cacheDir, name, expectedEncoderTensors(config));
  const tokenizer = createIdTokenizer(config.vocabSize, { endId: 2, frame: [0, 2] });
  return { kind: 'encoder', spec: name, sha256: '', weights, tokenizer, config };
}

async function shapedDecoder(cacheDir: string): Promise<DecoderCheckpoint> {
  const { config } = stepShape(false);
  const name = `gpt2-${config.layers}x${config.width}x${config.vocabSize}`;
  const weights = await randomWeights(cacheDir, name, expectedDecoderTensors(config));
  const tokenizer = createIdTokenizer(config.vocabSize, { endId: config.vocabSize - 1 });
  return { kind: 'decoder', spec: SHAPES, sha256: '', weights, tokenizer, config, chatTemplate: undefined };
}

async function fixture<K extends 'decoder' | 'encoder'>(cacheDir: string, kind: K, name: string) {
  const folder = fileURLToPath(packageFile(join('test', 'fixtures', 'models', name)));
  const checkpoint = await openCheckpoint(folder, { cacheDir });
  if (checkpoint.kind !== kind) throw new FloodgateError('model', `open ${name}: it is no ${kind}`);
  return checkpoint as Extract<typeof checkpoint, { readonly kind: K }>;
}

/**
 * Opens the models of `spec`: `tiny` with its small batch, `gpt2-small`, or a language model of the cache. Beside a model
 * that is not tiny are encoders of full shape.
 * @throws FloodgateError `source` when the model is not on this machine.
 */
export async function openDeviceModels(spec: string, batch: BatchName, cacheDir: string): Promise<DeviceModels> {
  if (spec === FIXTURES) {
    return {
      decoder: await fixture(cacheDir, 'decoder', 'smollm2'),
      classifier: await fixture(cacheDir, 'encoder', 'roberta-classifier'),
      encoder: await fixture(cacheDir, 'encoder', 'bert-encoder'),
      sizes: BATCHES.small,
    };
  }
  const opens = createOpenModels({ threads: 1, cacheDir });
  const { vocabSize, width, layers } = judgeConfig(false);
  return {
    decoder: spec === SHAPES ? await shapedDecoder(cacheDir) : await opens.openDecoder(spec),
    classifier: await shapedEncoder(cacheDir, `roberta-${layers}x${width}x${vocabSize}`, judgeConfig(false)),
    encoder: await shapedEncoder(cacheDir, `minilm-${ENCODER.layers}x${ENCODER.width}`, ENCODER),
    sizes: BATCHES[batch],
  };
}
