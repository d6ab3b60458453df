import { type Graph, GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import type { ParameterSpec } from '../../engine/optimizer/flat-parameters.ts';
import { modelParameters, outputGradients, type PolicyModelOptions, policyForward } from './policy-forward.ts';
import { B, R } from './shared-prefix.ts';

export interface ActorCriticOptions extends PolicyModelOptions {
  /** Whether the value loss trains the trunk (as in trlX) or the head alone. */
  readonly valueGradient: 'through-trunk' | 'head-only';
  /** The gradient of the probability ratio is 0 outside 1 - clipRange .. 1 + clipRange. */
  readonly clipRange: number;
  /** The same for the value, around the old value; no clipping when absent. */
  readonly valueClipRange?: number;
}

const HIDDEN_WEIGHT = 'value.hidden.weight';
const HIDDEN_BIAS = 'value.hidden.bias';
const OUT_WEIGHT = 'value.out.weight';
const OUT_BIAS = 'value.out.bias';

/** A ratio beyond e^20 is clipped before it overflows fp32. */
const MAX_LOG_RATIO = 20;

/** The value head: [D] -> [2D] -> 1 with ReLU between. Its last layer starts at zero, so the first values are 0. */
export function valueHeadParameters({ config }: Pick<ActorCriticOptions, 'config'>): ParameterSpec[] {
  const width = config.width;
  return [
    { name: HIDDEN_WEIGHT, shape: [2 * width, width], init: 'kaiming' },
    { name: HIDDEN_BIAS, shape: [2 * width], init: 'zeros' },
    { name: OUT_WEIGHT, shape: [1, 2 * width], init: 'zeros' },
    { name: OUT_BIAS, shape: [1], init: 'zeros' },
  ];
}

/** Trained tensors of an actor-critic in the order of the flat vector: the model's, then the head's. */
export function actorCriticParameters(
  options: Pick<ActorCriticOptions, 'config' | 'weights' | 'trainable'>,
): ParameterSpec[] {
  return [...modelParameters(options), ...valueHeadParameters(options)];
}

/** The value of each state before its token, from the final hidden states [B*R, D] -> [B, R]. */
function valueHead(g: GraphBuilder, options: ActorCriticOptions, rows: Value, differentiable: boolean): Value {
  const [hiddenWeight, hiddenBias, outWeight, outBias] = valueHeadParameters(options).map(({ name, shape }) =>
    g.input(name, 'float32', shape, { trainable: differentiable }),
  ) as [Value, Value, Value, Value];
  const x = options.valueGradient === 'head-only' ? g.detach(rows) : rows;
  const hidden = g.unary('relu', g.linear(x, hiddenWeight, 'outIn', hiddenBias));
  return g.reshape(g.linear(hidden, outWeight, 'outIn', outBias), [B, R]);
}

/**
 * Forward only: outputs `tokenLogProb` [B, R] and `value` [B, R], the expected return before each token.
 * Inputs: shared prefix, targetIds [B, R], endBan [B, R], the trained tensors by name.
 */
export function buildCriticGraph(options: ActorCriticOptions): Graph {
  const g = new GraphBuilder();
  const { rows, tokenLogProb } = policyForward(g, options, { differentiable: false });
  g.output('tokenLogProb', tokenLogProb);
  g.output('value', valueHead(g, options, rows, false));
  return g.build();
}

/**
 * One PPO step as one graph: forward, clipped losses, backward. Let A be advantages, G returns, N the tokens of the
 * minibatch; old log-probs and values are those before the update. Then
 *   policy loss = 1/N sum max(-A r, -A clip(r, 1 - e, 1 + e)), r = exp(logProb - oldLogProb),
 *   value loss = c/(2N) sum max((V - G)^2, (oldV + clip(V - oldV, -e, e) - G)^2)
 * (Schulman et al. 2017, eq. 7; value clipping as in OpenAI's baselines and trlX). The losses enter as weights, so that
 * micro-batches add up exactly: policyWeight = -A/N and valueWeight = c/N, 0 at padding.
 *
 * Inputs besides those of `buildCriticGraph`, all [B, R]: oldLogProb, policyWeight, oldValue, valueReturn, valueWeight.
 * Outputs: `tokenLogProb` [B, R], `value` [B, R], `gradient:NAME` for each trained tensor.
 */
export function buildActorCriticGraph(options: ActorCriticOptions, headParts: number): Graph {
  const g = new GraphBuilder();
  const { rows, tokenLogProb, seedOf } = policyForward(g, options, { differentiable: true, headParts });
  const value = valueHead(g, options, rows, true);
  g.output('tokenLogProb', tokenLogProb);
  g.output('value', value);
  const seeds = [
    seedOf(policyGradient(g, options, g.detach(tokenLogProb))),
    { output: value, gradient: valueGradient(g, options, g.detach(value)) },
  ];
  outputGradients(g, seeds, actorCriticParameters(options));
  return g.build();
}

/** d(policy loss)/d(logProb) = w r where the unclipped term is the larger, else 0. */
function policyGradient(g: GraphBuilder, { clipRange }: ActorCriticOptions, tokenLogProb: Value): Value {
  const oldLogProb = g.input('oldLogProb', 'float32', [B, R]);
  const weight = g.input('policyWeight', 'float32', [B, R]);
  const ratio = g.unary('exp', g.clip(g.subtract(tokenLogProb, oldLogProb), -MAX_LOG_RATIO, MAX_LOG_RATIO));
  const free = g.multiply(weight, ratio);
  const clipped = g.multiply(weight, g.clip(ratio, 1 - clipRange, 1 + clipRange));
  return g.multiply(free, isAtLeast(g, free, clipped));
}

/** d(value loss)/d(value) = w (V - G), unless the value is clipped and its clipped error is the larger. */
function valueGradient(g: GraphBuilder, { valueClipRange }: ActorCriticOptions, value: Value): Value {
  const oldValue = g.input('oldValue', 'float32', [B, R]);
  const valueReturn = g.input('valueReturn', 'float32', [B, R]);
  const weight = g.input('valueWeight', 'float32', [B, R]);
  const error = g.subtract(value, valueReturn);
  const free = g.multiply(weight, error);
  if (valueClipRange === undefined) return free;
  const move = g.subtract(value, oldValue);
  const clippedMove = g.clip(move, -valueClipRange, valueClipRange);
  const clippedError = g.subtract(g.add(oldValue, clippedMove), valueReturn);
  // Rounding may separate the two errors where nothing is clipped: only a clipped move can stop the gradient.
  const isClipped = g.unary('abs', g.unary('sign', g.subtract(move, clippedMove)));
  const isLarger = isAtLeast(g, g.multiply(error, error), g.multiply(clippedError, clippedError));
  const stopped = g.multiply(isClipped, g.subtract(g.scalar(1), isLarger));
  return g.multiply(free, g.subtract(g.scalar(1), stopped));
}

/** 1 where a >= b, else 0. */
function isAtLeast(g: GraphBuilder, a: Value, b: Value): Value {
  return g.subtract(g.scalar(1), g.unary('relu', g.unary('sign', g.subtract(b, a))));
}
