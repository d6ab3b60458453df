/** How the weight of the KL penalty moves towards a target KL. */
export interface AdaptiveKlRule {
  /** Mean of log pi - log p_ref over attacks that is aimed at, nats. */
  readonly targetKl: number;
  /** Attacks over which the coefficient may move by a fifth. */
  readonly horizon: number;
}

/** The largest relative error that one update answers to. */
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
