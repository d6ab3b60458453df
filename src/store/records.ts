/** The rows of a run, as they are written and read. `null` is *not measured*, never zero. */

/** Where an attack came from. Only `fresh` and `evaluation` are samples of the attacker at temperature 1. */
export type AttackSource = 'fresh' | 'tempered' | 'replay' | 'seed' | 'reference' | 'collected' | 'evaluation';

export interface VerdictRecord {
  readonly judge: string;
  /** True when the attack's own words were masked from the response before it was judged. */
  readonly masked: boolean;
  /** P(unsafe); null when the judge could not score. */
  readonly unsafe: number | null;
  /** Why it could not score. */
  readonly reason?: string;
}

export interface ResponseRecord {
  readonly text: string;
  readonly tokens: number;
  readonly truncated: boolean;
  readonly verdicts: readonly VerdictRecord[];
}

export interface AttackRecord {
  readonly source: AttackSource;
  readonly ids: readonly number[];
  /** Exact text, newlines and NUL included. */
  readonly text: string;
  /** log pi(x | c) in nats, summed over tokens. */
  readonly logPi: number | null;
  /** log p_ref(x | c) in nats, summed over tokens. */
  readonly logPRef: number | null;
  readonly logReward: number | null;
  /** Arithmetic mean of the training judge's P(unsafe) over the scored responses. */
  readonly meanUnsafe: number | null;
  /** Responses drawn for this row; empty when a replayed attack keeps its old score. */
  readonly responses: readonly ResponseRecord[];
}

export interface MetricRecord {
  readonly name: string;
  /** The judge behind the number; absent when none is. */
  readonly judge?: string;
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  /** How many attacks (or updates) the number was made from. */
  readonly n: number;
}

export interface EventRecord {
  readonly level: 'info' | 'warning' | 'error';
  readonly code: string;
  readonly message: string;
}

export interface CostRecord {
  /** Responses sampled from the target. */
  readonly targetCalls: number;
  /** Exchanges scored by judges. */
  readonly judgeCalls: number;
  /** Tokens that the target wrote. */
  readonly tokens: number;
  readonly seconds: number;
}

/** Everything that one update (or one batch of an evaluation) made: stored in one transaction or not at all. */
export interface UpdateRecord {
  readonly stage: string;
  /** Counted from 0. */
  readonly update: number;
  readonly attacks?: readonly AttackRecord[];
  readonly metrics?: readonly MetricRecord[];
  readonly events?: readonly EventRecord[];
  readonly cost?: CostRecord;
}

export type StageStatus = 'running' | 'done' | 'failed' | 'interrupted';

export interface StageRow {
  readonly name: string;
  readonly status: StageStatus;
  readonly updatesPlanned: number;
  readonly startedMs: number;
  readonly finishedMs: number | null;
}

export interface StoredAttack extends Omit<AttackRecord, 'responses'> {
  readonly id: number;
  readonly stage: string;
  readonly update: number;
  /** Row of its batch. */
  readonly position: number;
  readonly responseCount: number;
}

export interface StoredResponse extends ResponseRecord {
  readonly id: number;
  readonly position: number;
}

export interface StoredMetric extends MetricRecord {
  readonly stage: string;
  readonly update: number;
}

export interface StoredEvent extends EventRecord {
  readonly timeMs: number;
  readonly stage: string | undefined;
  readonly update: number | undefined;
}

/** One distinct attack of a stage, over all the times it was scored. */
export interface DistinctAttack {
  readonly ids: readonly number[];
  readonly text: string;
  /** Mean over every response it ever drew. */
  readonly meanUnsafe: number;
  readonly logPRef: number | null;
  readonly responses: number;
  readonly firstUpdate: number;
}

/** Work that a resume threw away because it had to be made again. */
export interface RepeatedCalls extends CostRecord {
  readonly stage: string;
  /** The last update that was kept. */
  readonly afterUpdate: number;
  readonly attacks: number;
  readonly responses: number;
  readonly verdicts: number;
  readonly timeMs: number;
}
