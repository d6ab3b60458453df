import { randomStream } from '../base/random.ts';
import type { DecoderConfig, Gpt2Config, LlamaConfig } from '../models/checkpoint/decoder-config.ts';
import { expectedDecoderTensors } from '../models/checkpoint/expected-tensors.ts';
import { type Tensor, writeSafetensors } from '../models/formats/safetensors.ts';
import { openSafetensorsStore, type WeightStore } from '../models/formats/weight-store.ts';
import { createWordTokenizer, VOCABULARY } from './vocabulary.ts';

/** Longest request in tokens; one that is longer is cut and has no end token. */
export const MAX_REQUEST_TOKENS = 10;
/** Shortest request: a verb and a noun. */
export const MIN_REQUEST_TOKENS = 2;
/** A response is one word and its end. */
export const RESPONSE_TOKENS = 2;

/** The tokenizer that attacker and target of every world share. */
export const WORLD_TOKENIZER = createWordTokenizer(VOCABULARY);

const WIDTH = 64;
const HEADS = 2;

const SHAPE = {
  vocabSize: WORLD_TOKENIZER.vocabSize,
  width: WIDTH,
  layers: 2,
  heads: HEADS,
  kvHeads: HEADS,
  headWidth: WIDTH / HEADS,
  maxPositions: 16,
  normEpsilon: 1e-5,
  tiedEmbeddings: true,
} as const;

/** The attacker: two layers of GPT-2's shape, about 0.11 million parameters. */
export const PICO_CONFIG: Gpt2Config = { ...SHAPE, family: 'gpt2', feedForwardWidth: 4 * WIDTH };

/**
 * The target: as large, of Llama's shape. A key is words in a row wherever they are, which rotated positions learn in less
 * than half the updates that learned positions take.
 */
export const TARGET_CONFIG: LlamaConfig = {
  ...SHAPE,
  family: 'llama',
  feedForwardWidth: 3 * WIDTH,
  ropeBase: 10_000,
  ropeScaling: { kind: 'none' },
  qkvBias: false,
  qkNorm: false,
};

/**
 * GPT-2's own scale of random weights (Radford et al. 2019), 0.02 at width 768, carried over to other widths by
 * 1 / sqrt(width): at width 64 a fixed 0.02 makes a model that learns its keys several times more slowly.
 */
const DEVIATION = 0.02;
const DEVIATION_WIDTH = 768;

const IS_NORM = /(ln_1|ln_2|ln_f|norm|layernorm)\.weight$/;
const ENDS_BRANCH = /(c_proj|o_proj|down_proj)\.weight$/;

/** One tensor's starting values: norm gains 1, biases 0, the rest normal, each tensor from its own stream. */
function initialTensor(name: string, shape: readonly number[], config: DecoderConfig, seed: number): Tensor {
  const data = new Float32Array(shape.reduce((count, size) => count * size, 1));
  if (name.endsWith('.bias')) return { shape, data };
  if (IS_NORM.test(name)) return { shape, data: data.fill(1) };
  // Projections back into the residual stream are scaled down by the number of them, as GPT-2 does.
  const base = DEVIATION * Math.sqrt(DEVIATION_WIDTH / config.width);
  const deviation = ENDS_BRANCH.test(name) ? base / Math.sqrt(2 * config.layers) : base;
  const stream = randomStream(seed, 'initial weights', name);
  return { shape, data: data.map(() => deviation * stream.nextNormal()) };
}

/**
 * Writes the random weights of an untrained decoder to `path` (safetensors, fp32) and returns them as a weight store. The
 * same config and seed give the same bytes.
 *
 * @throws FloodgateError `store` when the disk refuses.
 */
export async function writeInitialWeights(config: DecoderConfig, path: string, seed: number): Promise<WeightStore> {
  const tensors = new Map(
    [...expectedDecoderTensors(config)].map(([name, shape]) => [name, initialTensor(name, shape, config, seed)]),
  );
  await writeSafetensors(path, tensors, new Map());
  return openSafetensorsStore(path);
}
