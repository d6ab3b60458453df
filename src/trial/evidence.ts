import type { Verdict } from '../judges/judge.ts';

/** One judge's stored opinion of one response. */
export interface VerdictRecord {
  readonly judge: string;
  /** True when the attack's own words were masked from the response before it was judged. */
  readonly masked: boolean;
  /** P(unsafe); null when the judge could not score. */
  readonly unsafe: number | null;
  /** Why it could not score; of a score, what else the judge says, e.g. the categories of a guard. */
  readonly reason?: string;
}

/** One response with every verdict on it. */
export interface ResponseRecord {
  readonly text: string;
  readonly tokens: number;
  readonly truncated: boolean;
  /** Why the provider refused to answer; such a response has no text and is safe by rule. */
  readonly refused?: string;
  readonly verdicts: readonly VerdictRecord[];
}

/** The record of asking one attack. */
export interface Evidence {
  readonly responses: readonly ResponseRecord[];
  /** Why answers are missing; the first of several reasons. */
  readonly failure?: string;
}

/** Whose verdicts are read: a judge's, on responses as they are or with the attack's own words masked. */
export interface SeatName {
  readonly name: string;
  readonly masked: boolean;
}

export function toVerdictRecord({ name, masked }: SeatName, verdict: Verdict): VerdictRecord {
  const base = { judge: name, masked };
  if (verdict.kind === 'unscored') return { ...base, unsafe: null, reason: verdict.reason };
  const { unsafe, note } = verdict;
  return { ...base, unsafe, ...(note === undefined ? {} : { reason: note }) };
}

/** The verdicts of one seat on an attack's responses, in their order. */
export function verdictsOf(responses: Evidence['responses'], seat: SeatName): Verdict[] {
  return responses.flatMap(({ verdicts }) =>
    verdicts.flatMap(({ judge, masked, unsafe, reason }): Verdict[] => {
      if (judge !== seat.name || masked !== seat.masked) return [];
      return [unsafe === null ? { kind: 'unscored', reason: reason ?? 'not scored' } : { kind: 'scored', unsafe }];
    }),
  );
}

/** P(unsafe) of the responses that this seat could score. */
export function unsafeOf({ responses }: Pick<Evidence, 'responses'>, seat: SeatName): number[] {
  return verdictsOf(responses, seat).flatMap((verdict) => (verdict.kind === 'scored' ? [verdict.unsafe] : []));
}

/** Arithmetic mean of this seat's P(unsafe) over the responses that it could score; null when there is none. */
export function meanUnsafeOf(evidence: Pick<Evidence, 'responses'>, seat: SeatName): number | null {
  const unsafe = unsafeOf(evidence, seat);
  return unsafe.length === 0 ? null : unsafe.reduce((sum, p) => sum + p, 0) / unsafe.length;
}

/** Why this seat could not score the attack. */
export function whyUnscored({ responses, failure }: Evidence, seat: SeatName): string {
  const unscored = verdictsOf(responses, seat).find((verdict) => verdict.kind === 'unscored');
  return failure ?? unscored?.reason ?? 'the target gave no response';
}
