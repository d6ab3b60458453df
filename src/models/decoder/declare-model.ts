import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { symbolSize } from '../../engine/graph/size.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import type { Int8Store } from '../quantised/int8-weights.ts';
import { frozenWeights, inputWeights } from './decoder-weights.ts';
import { type LoraSpec, loraProjections } from './lora.ts';
import type { LoraValues, TrunkOptions } from './trunk.ts';

/** The trained tensors: an adapter on frozen weights, or every weight. */
export type Trainable = { readonly kind: 'lora'; readonly spec: LoraSpec } | { readonly kind: 'full' };

export interface ModelOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  /** Name of the model in errors; the path of its weights when absent. */
  readonly spec?: string;
  /** Tensors that are fed at each run because training changes them; absent for a frozen model. */
  readonly trained?: Trainable;
  readonly contextTokens: number;
  /** Frozen weights in int8; fp32 when absent. */
  readonly int8?: Int8Store;
}

/** Inference takes an adapter of any rank, so that graphs of one model are equal whatever adapts it. */
function declareLora(g: GraphBuilder, config: DecoderConfig, spec: LoraSpec, trainable: boolean): LoraValues {
  const rank = trainable ? spec.rank : symbolSize('rank');
  const adapters = new Map<string, { a: Value; b: Value }>();
  for (const { module, inSize, outSize } of loraProjections(config, spec)) {
    adapters.set(module, {
      a: g.input(`${module}.lora_A.weight`, 'float32', [rank, inSize], { trainable }),
      b: g.input(`${module}.lora_B.weight`, 'float32', [outSize, rank], { trainable }),
    });
  }
  return { scale: g.input('loraScale', 'float32', []), of: (module) => adapters.get(module) };
}

/** Declares the model's weights and adapters; `differentiable` marks the trained ones for `backward`. */
export function declareModel(
  g: GraphBuilder,
  options: ModelOptions,
  { differentiable }: { readonly differentiable: boolean },
): TrunkOptions {
  const { config, weights, trained, contextTokens, int8 } = options;
  if (trained?.kind === 'full') return { g, config, weights: inputWeights(g, weights, differentiable), contextTokens };
  const quantised = int8 === undefined ? {} : { int8 };
  const frozen = { g, config, weights: frozenWeights(g, weights), contextTokens, ...quantised };
  return trained === undefined ? frozen : { ...frozen, lora: declareLora(g, config, trained.spec, differentiable) };
}
