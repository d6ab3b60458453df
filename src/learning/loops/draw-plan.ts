import type { ScreenRule } from '../proposals/screen.ts';
import type { SurrogateState } from '../proposals/surrogate.ts';
import type { DrawnAttack, KnownOpinion } from './asked-batches.ts';
import { MAX_SAMPLED_ROWS, type ReferenceRule } from './rollout.ts';

/** Which fresh attacks one update draws. Whoever has it and the same states draws the same ones. JSON-safe. */
export interface DrawPlan {
  readonly seed: number;
  readonly update: number;
  /** The cell of all its attacks; absent for an attacker without cells. */
  readonly cell?: string;
  /** Attacks that are drawn and tried. */
  readonly slots: number;
  /** The last of them, drawn at a temperature from U(low, high). */
  readonly tempered: number;
  readonly temperatures: { readonly low: number; readonly high: number };
  /** Tokens of successes of the buffer; one more attack rewrites each. */
  readonly parents: readonly (readonly number[])[];
  readonly rewriteChange: number;
  /** Absent: every attack that is drawn is tried. */
  readonly screen?: ScreenRule;
  /** The slots of this part of a plan; absent: all. */
  readonly rows?: { readonly from: number; readonly to: number };
}

/** The states behind a plan: raw numbers, as they were when the plan was made. */
export interface DrawStates {
  /** The attacker's flat parameters. */
  readonly policy: Float32Array;
  /** Where attacks are screened. */
  readonly surrogate?: SurrogateState;
}

/** The attacks of a plan, drawn elsewhere, and the reference's opinion of each. */
export interface SearchedAttacks {
  readonly attacks: readonly DrawnAttack[];
  readonly opinions: readonly KnownOpinion[];
  /** The answers to all of them are stored: whoever drew them may forget them. */
  stored(): void;
}

/** Draws a plan's attacks elsewhere, and consults the reference there. */
export type SearchElsewhere = (plan: DrawPlan, states: DrawStates, rule: ReferenceRule) => Promise<SearchedAttacks>;

/** Attacks of a plan, drawn or not. */
export function sizeOfPlan({ slots, parents, rows }: DrawPlan): number {
  return (rows === undefined ? slots : rows.to - rows.from) + parents.length;
}

/**
 * The plan in parts that are drawn in different places: each is what one process draws at once, so that every number is
 * the same to the last bit. Screened and rewritten attacks stay together.
 */
export function splitPlan(plan: DrawPlan): DrawPlan[] {
  const { slots, parents, screen: rule } = plan;
  if (slots <= MAX_SAMPLED_ROWS || parents.length > 0 || rule !== undefined) return [plan];
  return Array.from({ length: Math.ceil(slots / MAX_SAMPLED_ROWS) }, (_, part) => {
    const from = part * MAX_SAMPLED_ROWS;
    return { ...plan, rows: { from, to: Math.min(slots, from + MAX_SAMPLED_ROWS) } };
  });
}
