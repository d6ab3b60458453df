import { type Graph, GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { multiplySizes, subtractSizes, symbolSize } from '../../engine/graph/size.ts';
import type { EncoderConfig } from '../checkpoint/encoder-config.ts';
import { frozenWeights, type WeightSource } from '../decoder/decoder-weights.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import { type Int8Store, int8Linear } from '../quantised/int8-weights.ts';
import type { QuantisedLinear } from '../quantised/quantise.ts';

const B = symbolSize('B');
const T = symbolSize('T');
const BT = multiplySizes(B, T);

/** Added to the attention score of padding: e^-1e9 is 0 in fp32. */
const MASKED = -1e9;
/** Smallest divisors that `transformers` and sentence-transformers use. */
const MIN_TOKENS = 1e-9;
const MIN_NORM = 1e-12;
const MAX_FLOAT32 = 3.4e38;

interface EncoderContext {
  readonly g: GraphBuilder;
  readonly config: EncoderConfig;
  readonly weights: WeightSource;
  readonly form: EncoderForm;
  /** 1 at tokens, 0 at padding [B, T]. */
  readonly mask: Value;
}

/** A form of the encoder other than fp32 alone. */
export interface EncoderForm {
  /** Weights that are quantised. */
  readonly int8?: Int8Store;
  /** Told the input [N, in] of every linear map. */
  readonly observe?: (g: GraphBuilder, weight: string, x: Value) => void;
}

/** The linear maps of the layers; the head is small, and stays in fp32. */
export function encoderLinears({ layers, width, feedForwardWidth }: EncoderConfig): QuantisedLinear[] {
  const at = (module: string, inSize: number, outSize: number): QuantisedLinear => ({
    weight: `encoder.layer.${module}.weight`,
    inSize,
    outSize,
    layout: 'outIn',
  });
  return Array.from({ length: layers }, (_, layer) => [
    ...['query', 'key', 'value'].map((name) => at(`${layer}.attention.self.${name}`, width, width)),
    at(`${layer}.attention.output.dense`, width, width),
    at(`${layer}.intermediate.dense`, width, feedForwardWidth),
    at(`${layer}.output.dense`, feedForwardWidth, width),
  ]).flat();
}

/** x [N, in] -> [N, out], in int8 where the module's weight is quantised. */
function project({ g, weights, form }: EncoderContext, module: string, x: Value): Value {
  const [weight, bias] = [`${module}.weight`, weights.get(`${module}.bias`)];
  form.observe?.(g, weight, x);
  const product = form.int8 === undefined ? undefined : int8Linear(g, form.int8, weight, x);
  return product === undefined ? g.linear(x, weights.get(weight), 'outIn', bias) : g.add(product, bias);
}

function norm({ g, config, weights }: EncoderContext, module: string, x: Value): Value {
  return g.layerNorm(x, weights.get(`${module}.weight`), weights.get(`${module}.bias`), config.normEpsilon);
}

function embeddings(context: EncoderContext): Value {
  const { g, config, weights } = context;
  const table = (name: string, ids: Value): Value => g.embedding(weights.get(`embeddings.${name}.weight`), ids);
  let x = table('word_embeddings', g.input('ids', 'int64', [B, T])); // [B, T, D]
  if (config.tokenTypes > 0) x = g.add(x, table('token_type_embeddings', g.input('tokenTypes', 'int64', [B, T])));
  x = g.add(x, table('position_embeddings', g.input('positions', 'int64', [T])));
  return g.reshape(norm(context, 'embeddings.LayerNorm', x), [BT, config.width]);
}

/** x [BT, D] -> [BT, D], each token over the tokens of its row; `bias` [B, 1, 1, T] shuts out padding. */
function selfAttention(context: EncoderContext, at: string, x: Value, bias: Value): Value {
  const { g, config } = context;
  const headWidth = config.width / config.heads;
  const [query, key, value] = (['query', 'key', 'value'] as const).map((name) => {
    const heads = g.reshape(project(context, `${at}.self.${name}`, x), [B, T, config.heads, headWidth]);
    return g.transpose(heads, [0, 2, 1, 3]); // [B, H, T, K]
  }) as [Value, Value, Value];
  const scores = g.add(g.matmul(query, key, { transposeB: true, scale: 1 / Math.sqrt(headWidth) }), bias); // [B, H, T, T]
  const mixed = g.transpose(g.matmul(g.softmax(scores), value), [0, 2, 1, 3]);
  return project(context, `${at}.output.dense`, g.reshape(mixed, [BT, config.width]));
}

/** Post-norm transformer layers: [BT, D] -> [BT, D]. */
function layers(context: EncoderContext, embedded: Value): Value {
  const { g, config, mask } = context;
  const shut = g.multiply(g.subtract(g.scalar(1), mask), g.scalar(MASKED));
  const bias = g.reshape(shut, [B, 1, 1, T]);
  let x = embedded;
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `encoder.layer.${layer}`;
    const attended = g.add(x, selfAttention(context, `${at}.attention`, x, bias));
    x = norm(context, `${at}.attention.output.LayerNorm`, attended);
    const inner = g.gelu(project(context, `${at}.intermediate.dense`, x), 'none'); // [BT, F]
    x = norm(context, `${at}.output.LayerNorm`, g.add(x, project(context, `${at}.output.dense`, inner)));
  }
  return x;
}

/** Mean over the tokens of each row, length 1 in L2: [B, T, D] -> [B, D]. */
function sentenceEmbedding({ g, mask }: EncoderContext, hidden: Value): Value {
  const total = g.reduceSum(g.multiply(hidden, g.reshape(mask, [B, T, 1])), [1]); // [B, D]
  const count = g.clip(g.reduceSum(mask, [1], true), MIN_TOKENS, MAX_FLOAT32);
  const mean = g.divide(total, count);
  const length = g.unary('sqrt', g.reduceSum(g.multiply(mean, mean), [1], true));
  return g.divide(mean, g.clip(length, MIN_NORM, MAX_FLOAT32));
}

/** The family's classification head over each row's first token: [B, T, D] -> logits [B, labels]. */
function classifierLogits(context: EncoderContext, hidden: Value): Value {
  const { g, config } = context;
  const first = g.reshape(g.split(hidden, 1, [1, subtractSizes(T, 1)])[0] as Value, [B, config.width]);
  switch (config.family) {
    case 'bert':
      return project(context, 'classifier', g.unary('tanh', project(context, 'pooler.dense', first)));
    case 'roberta':
      return project(context, 'classifier.out_proj', g.unary('tanh', project(context, 'classifier.dense', first)));
    case 'distilbert':
      return project(context, 'classifier', g.unary('relu', project(context, 'pre_classifier', first)));
    default:
      return config.family satisfies never;
  }
}

/**
 * Builds the whole encoder as one graph over the mapped weight file.
 * Inputs: `mask` float32 [B, T] (1 at tokens; padding on the right), `ids` int64 [B, T], `positions` int64 [T]; also
 * `tokenTypes` int64 [B, T] where the family has types. Outputs of a classifier: `logits` [B, labels]. Outputs of a
 * sentence encoder: `embedding` [B, D] (mean over tokens, L2 length 1) and `lastHidden` [B, T, D].
 */
export function buildEncoderGraph(config: EncoderConfig, weights: WeightStore, form: EncoderForm = {}): Graph {
  const g = new GraphBuilder();
  const mask = g.input('mask', 'float32', [B, T]);
  const context: EncoderContext = { g, config, weights: frozenWeights(g, weights), form, mask };
  const hidden = g.reshape(layers(context, embeddings(context)), [B, T, config.width]);
  if (config.labels.length > 0) {
    g.output('logits', classifierLogits(context, hidden));
  } else {
    g.output('embedding', sentenceEmbedding(context, hidden));
    g.output('lastHidden', hidden);
  }
  return g.build();
}

/** Position ids of `tokens` columns; RoBERTa's start after its padding id. */
export function positionIds(config: EncoderConfig, tokens: number): number[] {
  const start = config.family === 'roberta' ? config.padId + 1 : 0;
  return Array.from({ length: tokens }, (_, t) => start + t);
}
