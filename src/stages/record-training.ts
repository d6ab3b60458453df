import type { AttackRecord, EventRecord, MetricRecord } from '../runs/store/records.ts';
import { type CallCounter, createCallCounter } from '../trial/try-attacks.ts';
import type { Campaign } from './campaign/campaign.ts';

/** What one update of training by rewards leaves. */
export interface TrainedUpdate {
  readonly stage: string;
  readonly update: number;
  readonly attacks: readonly AttackRecord[];
  readonly metrics: readonly MetricRecord[];
  readonly events: readonly EventRecord[];
  /** Tokens that the attacker wrote. */
  readonly attackTokens: number;
  readonly seconds: number;
}

/** Stores an update with the calls made since the last one, in one transaction, and starts counting anew. */
export function recordTraining({ store }: Campaign, trained: TrainedUpdate, calls: CallCounter): void {
  const { attackTokens, seconds, ...record } = trained;
  store.recordUpdate({ ...record, cost: { ...calls, tokens: calls.tokens + attackTokens, seconds } });
  Object.assign(calls, createCallCounter());
}
