/** How the reference's log-probs of an attack enter the reward. */
export type FluencyForm =
  /** log p_ref(x): the paper. */
  | { readonly kind: 'sum' }
  /** log p_ref(x) / tokens. */
  | { readonly kind: 'mean' }
  /**
   * min(0, log p_ref(x) - cap x factors): an attack at least as likely as `cap` nats a token gains nothing by being
   * likelier. At the reference's own entropy rate the term prefers none of its typical texts.
   */
  | { readonly kind: 'capped'; readonly cap: number }
  /** Stable-GFN: 0 while the mean of the k lowest token log-probs is at least the threshold, else the penalty. */
  | { readonly kind: 'min-k-gate'; readonly k: number; readonly threshold: number; readonly penalty: number };

export interface FluencyRule {
  readonly form: FluencyForm;
  /** Attacks with fewer tokens (the end token not counted) get `shortPenalty`, whatever the form. */
  readonly minTokens: number;
  readonly shortPenalty: number;
}

/** One attack under the reference: the sampler's own factors, with the end token's when it was written. */
export interface ReferenceScore {
  readonly tokenLogProbs: ArrayLike<number>;
  /** Tokens of the attack, the end token not counted. */
  readonly tokens: number;
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i] as number;
  return total;
}

/** The fluency term in nats, before gamma and T. */
export function fluencyTerm(rule: FluencyRule, { tokenLogProbs, tokens }: ReferenceScore): number {
  if (tokens < rule.minTokens) return rule.shortPenalty;
  switch (rule.form.kind) {
    case 'sum':
      return sum(tokenLogProbs);
    case 'mean':
      return sum(tokenLogProbs) / tokenLogProbs.length;
    case 'capped':
      return Math.min(0, sum(tokenLogProbs) - rule.form.cap * tokenLogProbs.length);
    case 'min-k-gate': {
      const lowest = Array.from(tokenLogProbs)
        .sort((a, b) => a - b)
        .slice(0, rule.form.k);
      return sum(lowest) / lowest.length >= rule.form.threshold ? 0 : rule.form.penalty;
    }
  }
}
