/** Similarity of an attack to everything written before it, 0..1 (a cosine may be below 0). */
export interface Similarity {
  /** Mean of BLEU-2..5 against the history; a meter may forget its oldest texts, where memory would grow without end. */
  readonly selfBleu: number;
  /** Mean cosine of sentence embeddings to the whole history. */
  readonly cosine: number;
}

/**
 * Remembers earlier attacks and measures how similar new ones are; implemented where metrics and encoders can be
 * imported.
 */
export interface NoveltyMeter {
  /** The similarity of each text to the history; afterwards the texts join the history. */
  measure(texts: readonly string[]): Promise<Similarity[]>;
  /** State that a checkpoint stores to resume with the same history, JSON-safe. */
  state(): unknown;
}

/** Weights of the terms added to the judge's reward (Hong et al. 2024, section 3.2); each at least 0. */
export interface NoveltyWeights {
  readonly selfBleu: number;
  readonly cosine: number;
  /** Of the penalty on attacks that the reference finds improbable. */
  readonly gibberish: number;
  /** Mean log p_ref per token, nats, below which an attack counts as gibberish. */
  readonly gibberishThreshold: number;
}

/** The terms of an attack's reward, each as it is added. */
export interface RewardTerms {
  readonly judge: number;
  readonly selfBleu: number;
  readonly cosine: number;
  readonly gibberish: number;
}

/**
 * Reward terms of one attack. Deviation from the curiosity work: the reference's mean log-prob detects gibberish, not a
 * classifier, and the penalty is all or nothing.
 */
export function rewardTerms(
  judge: number,
  similarity: Similarity,
  referenceLogProbs: ArrayLike<number>,
  weights: NoveltyWeights,
): RewardTerms {
  let logPRef = 0;
  for (let t = 0; t < referenceLogProbs.length; t++) logPRef += referenceLogProbs[t] as number;
  const isGibberish = logPRef / referenceLogProbs.length < weights.gibberishThreshold;
  return {
    judge,
    selfBleu: -weights.selfBleu * similarity.selfBleu,
    cosine: -weights.cosine * similarity.cosine,
    gibberish: isGibberish ? -weights.gibberish : 0,
  };
}

/** The attack's whole reward, clipped to +-`clip`. */
export function sumOfTerms({ judge, selfBleu, cosine, gibberish }: RewardTerms, clip: number): number {
  return Math.min(clip, Math.max(-clip, judge + selfBleu + cosine + gibberish));
}

/**
 * Reward of each token: the KL penalty and the entropy bonus at every token, the attack's score at the last.
 * r_t = -kl (log pi_t - log p_ref_t) - entropy log pi_t + [t last] score.
 */
export function tokenRewards(
  score: number,
  logProbs: ArrayLike<number>,
  referenceLogProbs: ArrayLike<number>,
  weights: { readonly kl: number; readonly entropy: number },
): Float64Array {
  const rewards = Float64Array.from(logProbs, (logProb, t) => {
    return -weights.kl * (logProb - (referenceLogProbs[t] as number)) - weights.entropy * logProb;
  });
  rewards[rewards.length - 1] = (rewards.at(-1) as number) + score;
  return rewards;
}
