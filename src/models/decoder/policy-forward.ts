import type { Tensor } from 'onnxruntime-node';
import { backward } from '../../engine/graph/backward.ts';
import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { multiplySizes } from '../../engine/graph/size.ts';
import { type ParameterSpec, type ParameterVector, zeroParameters } from '../../engine/optimizer/flat-parameters.ts';
import { scalarTensor } from '../../engine/runtime/tensors.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import { declareModel, type Trainable } from './declare-model.ts';
import { declareFrozenHead } from './frozen-head.ts';
import { loraParameters } from './lora.ts';
import { bannedLogits, type TokenBans } from './sampler.ts';
import { B, declareSharedPrefix, P, R } from './shared-prefix.ts';
import { createTrunk, type Trunk } from './trunk.ts';

/** Options of every training step of a policy. */
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
  /** Where a gradient by `tokenLogProb` [B, R] enters the reverse sweep. */
  seedOf(gradient: Value): GradientSeed;
}

/** A value, and the gradient that enters there. */
export interface GradientSeed {
  readonly output: Value;
  readonly gradient: Value;
}

/**
 * Runs rows after a shared prefix forward, under the sampler's distribution. Declares the inputs: the shared prefix's,
 * targetIds [B, R], endBan [B, R], and the trained tensors by name; a frozen head's too.
 */
export function policyForward(
  g: GraphBuilder,
  options: PolicyModelOptions,
  pass: { readonly differentiable: false } | { readonly differentiable: true; readonly headParts: number },
): PolicyForward {
  const { config, bans, trainable } = options;
  const trunk = createTrunk(declareModel(g, { ...options, trained: trainable }, pass));
  const tokens = declareSharedPrefix(g, config, options.contextTokens);
  const BR = multiplySizes(B, R);
  const targetIds = g.reshape(g.input('targetIds', 'int64', [B, R]), [BR]);
  const endBan = g.reshape(g.input('endBan', 'float32', [B, R]), [BR]);
  const { vocabSize } = config;
  const head =
    pass.differentiable && trainable.kind === 'lora'
      ? declareFrozenHead(g, trunk, { targetIds, endBan, bans, vocabSize, parts: pass.headParts })
      : undefined;
  const banned = head === undefined ? bannedLogits(g, bans, vocabSize)(endBan) : undefined;
  const hidden = trunk.hidden(tokens.ids, tokens.positions, tokens.attend);
  const [prefixHidden, rowHidden] = g.split(hidden, 0, [P, BR]) as [Value, Value];
  const rows = trunk.finalNorm(rowHidden);
  if (head !== undefined) {
    const { tokenLogProb, hiddenGradient } = head(rows);
    const seedOf = (gradient: Value): GradientSeed => ({
      output: rows,
      gradient: g.multiply(g.reshape(gradient, [BR, 1]), hiddenGradient),
    });
    return { trunk, prefixHidden, rows, tokenLogProb: g.reshape(tokenLogProb, [B, R]), seedOf };
  }
  const tokenLogProb = g.reshape(g.tokenLogProb(trunk.logits(rows, banned), targetIds), [B, R]);
  return { trunk, prefixHidden, rows, tokenLogProb, seedOf: (gradient) => ({ output: tokenLogProb, gradient }) };
}

/** Appends the reverse sweep and one output `gradient:NAME` for each trained tensor. */
export function outputGradients(
  g: GraphBuilder,
  seeds: readonly GradientSeed[],
  specs: readonly ParameterSpec[],
): void {
  const inputs = new Map(g.build().inputs.map(({ name, value }) => [name, value]));
  const parameters = specs.map(({ name }) => inputs.get(name) as Value);
  for (const [i, gradient] of backward(g, seeds, parameters).entries())
    g.output(`gradient:${specs[i]?.name}`, gradient);
}

/** Trained parameters, and the sum of the gradients of the runs since it was cleared. */
export class TrainedVector {
  readonly parameters: ParameterVector;
  readonly gradient: Float32Array;
  private readonly sum: ParameterVector;
  private readonly specs: readonly ParameterSpec[];
  private readonly loraScale: number | undefined;
  /** Of a further run before the sum is cleared. */
  private further: ParameterVector | undefined;
  private isCleared = true;

  constructor(specs: readonly ParameterSpec[], trainable: Trainable) {
    this.specs = specs;
    this.parameters = zeroParameters(specs);
    this.sum = zeroParameters(specs);
    this.gradient = this.sum.data;
    this.loraScale = trainable.kind === 'lora' ? trainable.spec.alpha / trainable.spec.rank : undefined;
  }

  /** Returns the trained tensors as inputs of a graph. */
  feeds(): Record<string, Tensor> {
    const scale = this.loraScale === undefined ? {} : { loraScale: scalarTensor(this.loraScale) };
    return { ...this.parameters.tensors, ...scale };
  }

  clear(): void {
    this.gradient.fill(0);
    this.isCleared = true;
  }

  /** Runs a step graph and adds its outputs `gradient:NAME` to the sum. The first run writes them there. */
  async addGradient<T>(run: (fetches: Readonly<Record<string, Tensor>>) => Promise<T>): Promise<T> {
    const isFirst = this.isCleared;
    if (!isFirst) this.further ??= zeroParameters(this.specs);
    const { data, tensors } = isFirst ? this.sum : (this.further as ParameterVector);
    this.isCleared = false;
    const fetches = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`gradient:${name}`, tensor]));
    const result = await run(fetches);
    if (!isFirst) {
      for (let i = 0; i < data.length; i++) this.gradient[i] = (this.gradient[i] as number) + (data[i] as number);
    }
    return result;
  }
}
