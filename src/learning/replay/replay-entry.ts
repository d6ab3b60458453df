/** What the judges said of one attack so far. */
export interface ReplayScore {
  /** Mean over the responses of log P_unsafe (floored by whoever scored it, so finite). */
  readonly logS: number;
  /** Arithmetic mean over the responses of P_unsafe, in [0, 1]. */
  readonly meanUnsafe: number;
  /** How many scored responses stand behind both means; at least 1. */
  readonly responses: number;
}

/** An attack offered to the replay buffer. It holds the parts of the reward, never the reward: T and gamma move. */
export interface ReplayCandidate extends ReplayScore {
  /** Token ids of the attack, without meta-prompt and without the end token. */
  readonly tokens: readonly number[];
  /** Whether the attacker wrote its end token; false when the attack was cut at the maximum length. */
  readonly terminated: boolean;
  readonly text: string;
  /** Fluency term before schedules: log p_ref of the attack in the form that the run uses. */
  readonly logPRef: number;
  /** Sentence embedding [D], L2-normalised; needed when near-duplicates are told by cosine. */
  readonly embedding?: Float32Array;
  /** The update that sampled it; 0 for seeds. */
  readonly addedAtUpdate: number;
}

/** A stored attack. `id` grows with every entry ever stored, so a smaller id is an older entry. */
export interface ReplayEntry extends ReplayCandidate {
  readonly id: number;
}

/** log R under the schedules of the present update. Pass one function per update: the buffer re-keys when it changes. */
export type LogRewardOf = (entry: ReplayCandidate) => number;

/** Equal for two attacks exactly when tokens and ending are equal: same sequence, same probability. */
export function sequenceKey(candidate: Pick<ReplayCandidate, 'tokens' | 'terminated'>): string {
  return `${candidate.tokens.join(',')}${candidate.terminated ? '.' : ''}`;
}

/** Both scores as one: means weighted by the responses behind them. */
export function averageScores(a: ReplayScore, b: ReplayScore): ReplayScore {
  const responses = a.responses + b.responses;
  return {
    logS: (a.logS * a.responses + b.logS * b.responses) / responses,
    meanUnsafe: (a.meanUnsafe * a.responses + b.meanUnsafe * b.responses) / responses,
    responses,
  };
}
