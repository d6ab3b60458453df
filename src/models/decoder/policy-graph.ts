import { type Graph, GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { multiplySizes, subtractSizes } from '../../engine/graph/size.ts';
import type { ParameterSpec } from '../../engine/optimizer/flat-parameters.ts';
import { modelParameters, outputGradients, type PolicyModelOptions, policyForward } from './policy-forward.ts';
import { B, R } from './shared-prefix.ts';

/** Whether trajectory balance learns log Z, and whether its gradient enters the trunk. */
export type LogZMode = 'none' | 'through-trunk' | 'head-only';

export interface PolicyGraphOptions extends PolicyModelOptions {
  readonly logZ: LogZMode;
  /** Clips the slopes of the pairwise loss to this size (Huber); quadratic when absent. */
  readonly pairClip?: number;
  /** Clips the slopes of single rows, delta_i + log Z, to this size (Huber); quadratic when absent. */
  readonly rowClip?: number;
}

const LOG_Z_WEIGHT = 'logZ.weight';
const LOG_Z_BIAS = 'logZ.bias';

/** Trained tensors of a policy, in the order of the flat parameter vector. */
export function policyParameters(
  options: Omit<PolicyGraphOptions, 'bans' | 'contextTokens' | 'pairClip' | 'rowClip'>,
): ParameterSpec[] {
  const { config, logZ } = options;
  const model = modelParameters(options);
  if (logZ === 'none') return model;
  return [
    ...model,
    { name: LOG_Z_WEIGHT, shape: [1, config.width], init: 'zeros' },
    { name: LOG_Z_BIAS, shape: [1], init: 'zeros' },
  ];
}

/**
 * One training step as one graph: forward, objective, backward.
 *
 * delta_i = log pi(x_i) - logR_i. The gradient entering row i is
 *   w_i = sum_j pairWeight_ij slope(delta_i - delta_j) + rowWeight_i slope(delta_i + log Z) + directWeight_i.
 * Every objective follows from its weights (see `learning/objectives/`): trajectory balance uses rowWeight, VarGrad and
 * contrastive balance use pairWeight, likelihood and REINFORCE use directWeight.
 *
 * Inputs besides the shared prefix's: targetIds [B, R], targetMask [B, R], endBan [B, R], logReward [B], pairWeight [B,
 * B], rowWeight [B], directWeight [B], and the trained tensors by name.
 * Outputs: `logProb` [B], `logZ` [] (0 without a head), `gradient:NAME` for each trained tensor.
 */
export function buildPolicyGraph(options: PolicyGraphOptions, headParts: number): Graph {
  const g = new GraphBuilder();
  const { trunk, prefixHidden, rows, tokenLogProb, seedOf } = policyForward(g, options, {
    differentiable: true,
    headParts,
  });
  const targetMask = g.input('targetMask', 'float32', [B, R]);
  const logProb = g.reduceSum(g.multiply(tokenLogProb, targetMask), [1]); // [B]
  g.output('logProb', logProb);

  const logZ = options.logZ === 'none' ? g.scalar(0) : buildLogZ(g, options, trunk.finalNorm(prefixHidden), rows);
  g.output('logZ', logZ);
  const { rowGradient, logZGradient } = objectiveGradient(g, options, g.detach(logProb), g.detach(logZ));
  const seeds = [seedOf(g.multiply(g.reshape(rowGradient, [B, 1]), targetMask))];
  if (options.logZ !== 'none') seeds.push({ output: logZ, gradient: logZGradient });
  outputGradients(g, seeds, policyParameters(options));
  return g.build();
}

/**
 * log Z(c) = w . mean over the meta-prompt's positions of the final hidden state + b. Its last position is in row 0.
 */
function buildLogZ(g: GraphBuilder, options: PolicyGraphOptions, prefix: Value, rows: Value): Value {
  const weight = g.input(LOG_Z_WEIGHT, 'float32', [1, options.config.width], { trainable: true });
  const bias = g.input(LOG_Z_BIAS, 'float32', [1], { trainable: true });
  const stop = (x: Value): Value => (options.logZ === 'head-only' ? g.detach(x) : x);
  const [lastPromptToken] = g.split(stop(rows), 0, [1, subtractSizes(multiplySizes(B, R), 1)]) as [Value, Value];
  const all = g.concat([stop(prefix), lastPromptToken], 0);
  const pooled = g.reshape(g.reduceMean(all, [0], true), [1, options.config.width]);
  return g.reshape(g.linear(pooled, weight, 'outIn', bias), []);
}

function objectiveGradient(g: GraphBuilder, options: PolicyGraphOptions, logProb: Value, logZ: Value) {
  const logReward = g.input('logReward', 'float32', [B]);
  const pairWeight = g.input('pairWeight', 'float32', [B, B]);
  const rowWeight = g.input('rowWeight', 'float32', [B]);
  const directWeight = g.input('directWeight', 'float32', [B]);
  const delta = g.subtract(logProb, logReward);
  const difference = g.subtract(g.reshape(delta, [B, 1]), g.reshape(delta, [1, B]));
  const slope = (x: Value, clip: number | undefined): Value => (clip === undefined ? x : g.clip(x, -clip, clip));
  const pairTerm = g.reduceSum(g.multiply(pairWeight, slope(difference, options.pairClip)), [1]);
  const rowTerm = g.multiply(rowWeight, slope(g.add(delta, logZ), options.rowClip));
  return {
    rowGradient: g.add(g.add(pairTerm, rowTerm), directWeight),
    logZGradient: g.reduceSum(rowTerm, [0]),
  };
}
