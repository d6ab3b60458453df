import type { SampledAttack } from '../learning/attacker.ts';

/** Attacks drawn from an attacker, as evaluation takes them; logPi is null where the attacker has no density of its own. */
export interface DrawnAttack extends Omit<SampledAttack, 'logPi'> {
  readonly logPi: number | null;
}

export interface DrawPlan {
  readonly seed: number;
  /** Of the attacker; 1 is the distribution that it was trained to be. */
  readonly temperature: number;
}

/** What was paid for drawing: attackers such as best-of-n ask the target while they write. */
export interface DrawCost {
  readonly targetCalls: number;
  readonly judgeCalls: number;
  readonly tokens: number;
}

export interface DrawnBatch {
  readonly attacks: readonly DrawnAttack[];
  /** Tokens as the policy graph takes them, for the database. */
  readonly ids: readonly (readonly number[])[];
  readonly cost: DrawCost;
}

/** An attacker as evaluation sees it: attack i of a plan is the same whatever batch it is drawn in. */
export interface AttackSource {
  /** Attacks `first` to `first + count - 1`. */
  draw(first: number, count: number, plan: DrawPlan): Promise<DrawnBatch>;
  close(): Promise<void>;
}

/** Nothing but the attacker's own tokens. */
export const FREE_DRAW: Omit<DrawCost, 'tokens'> = { targetCalls: 0, judgeCalls: 0 };
