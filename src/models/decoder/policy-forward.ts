import { backward } from '../../engine/graph/backward.ts';
import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { multiplySizes } from '../../engine/graph/size.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import { declareModel, type Trainable } from './declare-model.ts';
import { loraParameters, type ParameterSpec } from './lora.ts';
import { samplerLogits, type TokenBans } from './sampler-logits.ts';
import { B, declareSharedPrefix, P, R } from './shared-prefix.ts';
import { createTrunk, type Trunk } from './trunk.ts';

/** What every training step of a policy is built from. */
export interface PolicyModelOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  readonly trainable: Trainable;
  readonly bans: TokenBans;
  readonly contextTokens: number;
}

/** Trained tensors of the model itself, without the heads of an objective. */
export function modelParameters({
  config,
  weights,
  trainable,
}: Pick<PolicyModelOptions, 'config' | 'weights' | 'trainable'>): ParameterSpec[] {
  if (trainable.kind === 'lora') return loraParameters(config, trainable.spec);
  return [...weights.tensors].map(([name, { shape }]) => ({ name, shape, init: 'zeros' }));
}

export interface PolicyForward {
  readonly trunk: Trunk;
  /** Hidden states of the prefix before the final norm [P, D]. */
  readonly prefixHidden: Value;
  /** Final hidden states at the positions that predict the rows' tokens [B*R, D]. */
  readonly rows: Value;
  /** Log-prob of each target under the sampler [B, R]; padding holds the log-prob of token 0. */
  readonly tokenLogProb: Value;
}

/**
 * Forward of rows after a shared prefix under the sampler's distribution. Declares the shared prefix's inputs,
 * targetIds [B, R], endBan [B, R] and the trained tensors by name.
 */
export function policyForward(
  g: GraphBuilder,
  options: PolicyModelOptions,
  { differentiable }: { readonly differentiable: boolean },
): PolicyForward {
  const trunk = createTrunk(declareModel(g, { ...options, trained: options.trainable }, { differentiable }));
  const tokens = declareSharedPrefix(g, options.config);
  const BR = multiplySizes(B, R);
  const targetIds = g.input('targetIds', 'int64', [B, R]);
  const endBan = g.input('endBan', 'float32', [B, R]);
  const hidden = trunk.hidden(tokens.ids, tokens.positions, tokens.attend);
  const [prefixHidden, rowHidden] = g.split(hidden, 0, [P, BR]) as [Value, Value];
  const rows = trunk.finalNorm(rowHidden);
  const logits = samplerLogits(g, trunk.logits(rows), g.reshape(endBan, [BR]), options.bans);
  const tokenLogProb = g.reshape(g.tokenLogProb(logits, g.reshape(targetIds, [BR])), [B, R]);
  return { trunk, prefixHidden, rows, tokenLogProb };
}

/** Appends the reverse sweep and one output `gradient:NAME` for each trained tensor. */
export function outputGradients(
  g: GraphBuilder,
  seeds: readonly { readonly output: Value; readonly gradient: Value }[],
  specs: readonly ParameterSpec[],
): void {
  const inputs = new Map(g.build().inputs.map(({ name, value }) => [name, value]));
  const parameters = specs.map(({ name }) => inputs.get(name) as Value);
  for (const [i, gradient] of backward(g, seeds, parameters).entries())
    g.output(`gradient:${specs[i]?.name}`, gradient);
}
