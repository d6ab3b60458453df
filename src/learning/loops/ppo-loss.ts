import type { ActorCriticForward, ActorCriticTargets, TokenValues } from '../../models/decoder/actor-critic-session.ts';

/** The constants of the clipped objective (Schulman et al. 2017, eq. 7 and 9). */
export interface PpoLossRule {
  readonly clipRange: number;
  /** Around the old value; no clipping when absent. */
  readonly valueClipRange?: number;
  /** Weight of the value loss beside the policy loss. */
  readonly valueWeight: number;
}

/** Values of each token from before the update. */
export interface PpoTokens {
  readonly oldLogProbs: TokenValues;
  readonly oldValues: TokenValues;
  readonly advantages: TokenValues;
  readonly returns: TokenValues;
}

/** Targets for some rows of an update. The losses are means over the `tokens` of the whole minibatch. */
export function ppoTargets(known: PpoTokens, rows: readonly number[], tokens: number, rule: PpoLossRule) {
  const pick = (values: TokenValues): TokenValues => rows.map((row) => values[row] as ArrayLike<number>);
  const targets: ActorCriticTargets = {
    oldLogProbs: pick(known.oldLogProbs),
    policyWeights: pick(known.advantages).map((row) => Float64Array.from(row, (advantage) => -advantage / tokens)),
    oldValues: pick(known.oldValues),
    returns: pick(known.returns),
    valueWeights: pick(known.returns).map((row) => new Float64Array(row.length).fill(rule.valueWeight / tokens)),
  };
  return targets;
}

/** Sums over tokens, so that micro-batches add up. */
export interface PpoSums {
  tokens: number;
  policyLoss: number;
  valueLoss: number;
  clipped: number;
  valueClipped: number;
  /** Sum of r - 1 - log r: an unbiased estimate of KL(old | new) that is never negative. */
  approximateKl: number;
}

export function createPpoSums(): PpoSums {
  return { tokens: 0, policyLoss: 0, valueLoss: 0, clipped: 0, valueClipped: 0, approximateKl: 0 };
}

/** Adds the losses of `rows`, whose log-probs and values are `now`, to `sums`. */
export function addPpoLosses(
  sums: PpoSums,
  known: PpoTokens,
  rows: readonly number[],
  now: ActorCriticForward,
  rule: PpoLossRule,
): void {
  for (const [i, row] of rows.entries()) {
    const logProbs = now.tokenLogProbs[i] as Float32Array;
    for (let t = 0; t < logProbs.length; t++) {
      const at = (values: TokenValues): number => values[row]?.[t] as number;
      addPolicyLoss(sums, { logRatio: (logProbs[t] as number) - at(known.oldLogProbs), rule }, at(known.advantages));
      addValueLoss(sums, rule, {
        value: now.values[i]?.[t] as number,
        oldValue: at(known.oldValues),
        valueReturn: at(known.returns),
      });
      sums.tokens++;
    }
  }
}

function addPolicyLoss(
  sums: PpoSums,
  { logRatio, rule }: { readonly logRatio: number; readonly rule: PpoLossRule },
  advantage: number,
): void {
  const ratio = Math.exp(logRatio);
  const free = -advantage * ratio;
  const clipped = -advantage * Math.min(1 + rule.clipRange, Math.max(1 - rule.clipRange, ratio));
  sums.policyLoss += Math.max(free, clipped);
  sums.clipped += clipped > free ? 1 : 0;
  sums.approximateKl += ratio - 1 - logRatio;
}

function addValueLoss(
  sums: PpoSums,
  { valueClipRange = Number.POSITIVE_INFINITY }: PpoLossRule,
  { value, oldValue, valueReturn }: { readonly value: number; readonly oldValue: number; readonly valueReturn: number },
): void {
  const move = Math.min(valueClipRange, Math.max(-valueClipRange, value - oldValue));
  const isMoveClipped = move !== value - oldValue;
  const error = (value - valueReturn) ** 2;
  const clippedError = isMoveClipped ? (oldValue + move - valueReturn) ** 2 : error;
  sums.valueLoss += 0.5 * Math.max(error, clippedError);
  sums.valueClipped += clippedError > error ? 1 : 0;
}

/** How the weight of the KL penalty adapts to a target KL. */
export interface AdaptiveKlRule {
  /** Target mean of log pi - log p_ref over attacks, nats. */
  readonly targetKl: number;
  /** Attacks over which the coefficient may change by a fifth. */
  readonly horizon: number;
}

/** The relative error of one update is clipped to this. */
const MAX_ERROR = 0.2;

/**
 * The next KL coefficient (Ziegler et al. 2019, section 2.2): coefficient * (1 + clip(KL / target - 1) * attacks / horizon).
 *
 * @param kl mean of log pi - log p_ref over the update's attacks, nats.
 */
export function nextKlCoefficient(
  coefficient: number,
  rule: AdaptiveKlRule,
  { kl, attacks }: { readonly kl: number; readonly attacks: number },
): number {
  const error = Math.min(MAX_ERROR, Math.max(-MAX_ERROR, kl / rule.targetKl - 1));
  return coefficient * (1 + (error * attacks) / rule.horizon);
}
