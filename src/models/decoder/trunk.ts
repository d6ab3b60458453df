import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { LinearLayout, Value } from '../../engine/graph/ops.ts';
import type { Size } from '../../engine/graph/size.ts';
import type { DecoderConfig, Gpt2Config, LlamaConfig } from '../checkpoint/decoder-config.ts';
import { type Gemma3Config, isLocalLayer } from '../checkpoint/gemma-config.ts';
import type { Rotation } from '../checkpoint/rope-scaling.ts';
import { type Int8Store, int8Linear } from '../quantised/int8-weights.ts';
import type { WeightSource } from './decoder-weights.ts';
import { headWeight, projectionLayout } from './lora.ts';
import { ropeTables } from './rope.ts';

/** Adapter tensors of one projection, and the scale alpha / rank (0 turns the adapter off). */
export interface LoraValues {
  readonly scale: Value;
  /** A [rank, in] and B [out, rank] of a module; undefined where it is not adapted. */
  of(module: string): { readonly a: Value; readonly b: Value } | undefined;
}

/** Attention over the keys that the graph provides: q [N, H*K], k and v [N, G*K], already rotated -> [N, H*K]. */
export type Attend = (layer: number, q: Value, k: Value, v: Value) => Value;

export interface TrunkOptions {
  readonly g: GraphBuilder;
  readonly config: DecoderConfig;
  readonly weights: WeightSource;
  readonly lora?: LoraValues;
  /** Weights that are quantised. */
  readonly int8?: Int8Store;
  /** Told the input [N, in] of every linear map. */
  readonly observe?: (weight: string, x: Value) => void;
  /** Longest position + 1 that the graph must take. */
  readonly contextTokens: number;
}

/** A decoder's layers over N flat tokens. Each family has its own trunk; the graphs built on it serve every family. */
export interface Trunk {
  /** ids and positions int64 [N] -> hidden states after the last layer, before the final norm [N, D]. */
  hidden(ids: Value, positions: Value, attend: Attend): Value;
  /** Final norm [N, D] -> [N, D]. */
  finalNorm(x: Value): Value;
  /** Normed hidden [N, D] -> logits [N, V], with `bias` [N, V] added to them. */
  logits(x: Value, bias?: Value): Value;
  /** Gradient by the logits [N, V] -> by the normed hidden states that they are of [N, D]. */
  logitsGradient(gradient: Value): Value;
}

/** x [N, in] by a frozen weight -> [N, out], in int8 where it is quantised. */
function frozenLinear(
  { g, weights, int8, observe }: TrunkOptions,
  { weight, layout, bias }: { readonly weight: string; readonly layout: LinearLayout; readonly bias?: Value },
  x: Value,
): Value {
  observe?.(weight, x);
  const product = int8 === undefined ? undefined : int8Linear(g, int8, weight, x);
  if (product === undefined) return g.linear(x, weights.get(weight), layout, bias);
  return bias === undefined ? product : g.add(product, bias);
}

/** x [N, in] -> [N, out] without the module's adapter. */
function frozenProjection(options: TrunkOptions, module: string, x: Value): Value {
  const { config, weights } = options;
  const bias = weights.has(`${module}.bias`) ? { bias: weights.get(`${module}.bias`) } : {};
  return frozenLinear(options, { weight: `${module}.weight`, layout: projectionLayout(config), ...bias }, x);
}

/** x [N, in] -> [N, out], with the module's bias where it has one and its adapter where it is adapted. */
function project(options: TrunkOptions, module: string, x: Value): Value {
  const { g, lora } = options;
  const base = frozenProjection(options, module, x);
  const adapter = lora?.of(module);
  if (lora === undefined || adapter === undefined) return base;
  const reduced = g.multiply(g.linear(x, adapter.a, 'outIn'), lora.scale); // [N, rank]
  return g.linear(reduced, adapter.b, 'outIn', base);
}

/** Normed hidden [N, D] -> logits [N, V], with `bias` [N, V] added to them. */
function head(options: TrunkOptions, x: Value, bias?: Value): Value {
  const weight = { weight: headWeight(options.config), layout: 'outIn' } as const;
  return frozenLinear(options, bias === undefined ? weight : { ...weight, bias }, x);
}

/** Gradient by the logits [N, V] -> by the head's input [N, D]. */
function headGradient({ g, config, weights }: TrunkOptions, gradient: Value): Value {
  return g.linear(gradient, weights.get(headWeight(config)), 'inOut');
}

function gpt2Trunk(options: TrunkOptions, config: Gpt2Config): Trunk {
  const { g, weights } = options;
  const norm = (name: string, x: Value): Value =>
    g.layerNorm(x, weights.get(`${name}.weight`), weights.get(`${name}.bias`), config.normEpsilon);
  const layer = (index: number, x: Value, attend: Attend): Value => {
    const at = `h.${index}`;
    const qkv = project(options, `${at}.attn.c_attn`, norm(`${at}.ln_1`, x));
    const [q, k, v] = g.split(qkv, 1, [config.width, config.width, config.width]) as [Value, Value, Value];
    const attended = g.add(x, project(options, `${at}.attn.c_proj`, attend(index, q, k, v)));
    const inner = g.gelu(project(options, `${at}.mlp.c_fc`, norm(`${at}.ln_2`, attended)), 'tanh');
    return g.add(attended, project(options, `${at}.mlp.c_proj`, inner));
  };
  return {
    hidden: (ids, positions, attend) => {
      let x = g.add(g.embedding(weights.get('wte.weight'), ids), g.embedding(weights.get('wpe.weight'), positions));
      for (let index = 0; index < config.layers; index++) x = layer(index, x, attend);
      return x;
    },
    finalNorm: (x) => norm('ln_f', x),
    logits: (x, bias) => head(options, x, bias),
    logitsGradient: (gradient) => headGradient(options, gradient),
  };
}

/** Heads [N, heads*K] and positions [N, 1] to rotated heads [N, heads*K]. */
type Rotate = (x: Value, count: number, positions: Value) => Value;

/** RoPE tables have this height where the model allows it: graphs for shorter contexts are then equal. */
const COMMON_TABLE_HEIGHT = 2048;

function createRotate({ g, config, contextTokens }: TrunkOptions, rotation: Rotation, headWidth: number): Rotate {
  const height = Math.max(contextTokens, Math.min(config.maxPositions, COMMON_TABLE_HEIGHT));
  const tables = ropeTables(rotation, headWidth, height);
  const tableShape = [height, headWidth / 2];
  const cosine = g.constant('float32', tableShape, tables.cosine);
  const sine = g.constant('float32', tableShape, tables.sine);
  return (x, count, positions) => {
    const n = x.shape[0] as Size;
    // One token a row: the kernel refuses sequences longer than its tables, and N flat tokens may be.
    const rotated = g.rotary(g.reshape(x, [n, 1, count * headWidth]), positions, cosine, sine);
    return g.reshape(rotated, [n, count * headWidth]);
  };
}

/** Normalises each head by itself: [N, heads*K] -> same. */
function normHeads(g: GraphBuilder, x: Value, headWidth: number, norm: (x: Value) => Value): Value {
  const [n, columns] = x.shape as [Size, number];
  return g.reshape(norm(g.reshape(x, [n, columns / headWidth, headWidth])), [n, columns]);
}

function llamaTrunk(options: TrunkOptions, config: LlamaConfig): Trunk {
  const { g, weights } = options;
  const { heads, kvHeads, headWidth } = config;
  const norm = (name: string, x: Value): Value => g.rmsNorm(x, weights.get(`${name}.weight`), config.normEpsilon);
  const rotate = createRotate(options, config, headWidth);
  /** Per-head norm (Qwen 3), then rotation: [N, heads*K] -> same. */
  const prepare = (x: Value, count: number, normName: string, positions: Value): Value =>
    rotate(config.qkNorm ? normHeads(g, x, headWidth, (head) => norm(normName, head)) : x, count, positions);
  const layer = (index: number, x: Value, positions: Value, attend: Attend): Value => {
    const at = `model.layers.${index}`;
    const h = norm(`${at}.input_layernorm`, x);
    const q = prepare(project(options, `${at}.self_attn.q_proj`, h), heads, `${at}.self_attn.q_norm`, positions);
    const k = prepare(project(options, `${at}.self_attn.k_proj`, h), kvHeads, `${at}.self_attn.k_norm`, positions);
    const v = project(options, `${at}.self_attn.v_proj`, h);
    const attended = g.add(x, project(options, `${at}.self_attn.o_proj`, attend(index, q, k, v)));
    const h2 = norm(`${at}.post_attention_layernorm`, attended);
    const gated = g.multiply(
      g.silu(project(options, `${at}.mlp.gate_proj`, h2)),
      project(options, `${at}.mlp.up_proj`, h2),
    );
    return g.add(attended, project(options, `${at}.mlp.down_proj`, gated));
  };
  return {
    hidden: (ids, positions, attend) => {
      const flatPositions = g.reshape(positions, [positions.shape[0] as Size, 1]);
      let x = g.embedding(weights.get('model.embed_tokens.weight'), ids);
      for (let index = 0; index < config.layers; index++) x = layer(index, x, flatPositions, attend);
      return x;
    },
    finalNorm: (x) => norm('model.norm', x),
    logits: (x, bias) => head(options, x, bias),
    logitsGradient: (gradient) => headGradient(options, gradient),
  };
}

function gemma3Trunk(options: TrunkOptions, config: Gemma3Config): Trunk {
  const { g, weights } = options;
  const { heads, kvHeads, headWidth } = config;
  const norm = (name: string, x: Value): Value =>
    g.rmsNorm(x, g.add(weights.get(`${name}.weight`), g.scalar(1)), config.normEpsilon); // x / rms * (1 + w)
  const rotateGlobal = createRotate(options, config, headWidth);
  const rotateLocal = createRotate(options, config.localRotation, headWidth);
  const layer = (index: number, x: Value, positions: Value, attend: Attend): Value => {
    const at = `model.layers.${index}`;
    const rotate = isLocalLayer(config, index) ? rotateLocal : rotateGlobal;
    const prepare = (name: 'q' | 'k', input: Value, count: number): Value => {
      const projected = project(options, `${at}.self_attn.${name}_proj`, input);
      const normed = normHeads(g, projected, headWidth, (head) => norm(`${at}.self_attn.${name}_norm`, head));
      return rotate(normed, count, positions);
    };
    const h = norm(`${at}.input_layernorm`, x);
    const v = project(options, `${at}.self_attn.v_proj`, h);
    const mixed = attend(index, prepare('q', h, heads), prepare('k', h, kvHeads), v);
    const attended = g.add(
      x,
      norm(`${at}.post_attention_layernorm`, project(options, `${at}.self_attn.o_proj`, mixed)),
    );
    const h2 = norm(`${at}.pre_feedforward_layernorm`, attended);
    const gated = g.multiply(
      g.gelu(project(options, `${at}.mlp.gate_proj`, h2), 'tanh'),
      project(options, `${at}.mlp.up_proj`, h2),
    );
    return g.add(attended, norm(`${at}.post_feedforward_layernorm`, project(options, `${at}.mlp.down_proj`, gated)));
  };
  const table = weights.get('model.embed_tokens.weight');
  return {
    hidden: (ids, positions, attend) => {
      const flatPositions = g.reshape(positions, [positions.shape[0] as Size, 1]);
      let x = g.multiply(g.embedding(table, ids), g.scalar(Math.fround(Math.sqrt(config.width))));
      for (let index = 0; index < config.layers; index++) x = layer(index, x, flatPositions, attend);
      return x;
    },
    finalNorm: (x) => norm('model.norm', x),
    logits: (x, bias) => head(options, x, bias),
    logitsGradient: (gradient) => headGradient(options, gradient),
  };
}

export function createTrunk(options: TrunkOptions): Trunk {
  const { config } = options;
  switch (config.family) {
    case 'gpt2':
      return gpt2Trunk(options, config);
    case 'llama':
      return llamaTrunk(options, config);
    case 'gemma3':
      return gemma3Trunk(options, config);
  }
}
