import type { WeightStore } from '../../formats/weight-store.ts';
import type { GraphBuilder } from '../../graph/builder.ts';
import type { Value } from '../../graph/ops.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import { frozenWeights, inputWeights } from './decoder-weights.ts';
import { type LoraSpec, loraProjections } from './lora.ts';
import type { LoraValues, TrunkOptions } from './trunk.ts';

/** What is trained: an adapter on frozen weights, or every weight. */
export type Trainable = { readonly kind: 'lora'; readonly spec: LoraSpec } | { readonly kind: 'full' };

export interface ModelOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  /** Tensors fed at each run because training changes them; absent for a frozen model. */
  readonly trained?: Trainable;
  readonly contextTokens: number;
}

function declareLora(g: GraphBuilder, config: DecoderConfig, spec: LoraSpec, trainable: boolean): LoraValues {
  const adapters = new Map<string, { a: Value; b: Value }>();
  for (const { module, inSize, outSize } of loraProjections(config, spec)) {
    adapters.set(module, {
      a: g.input(`${module}.lora_A.weight`, 'float32', [spec.rank, inSize], { trainable }),
      b: g.input(`${module}.lora_B.weight`, 'float32', [outSize, spec.rank], { trainable }),
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
  const { config, weights, trained, contextTokens } = options;
  if (trained?.kind === 'full') return { g, config, weights: inputWeights(g, weights, differentiable), contextTokens };
  const frozen = { g, config, weights: frozenWeights(g, weights), contextTokens };
  return trained === undefined ? frozen : { ...frozen, lora: declareLora(g, config, trained.spec, differentiable) };
}
