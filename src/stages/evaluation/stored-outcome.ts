import type { Verdict } from '../../judges/judge.ts';
import { type AttackOutcome, attackOutcome } from '../../metrics/success.ts';
import type { ResponseRecord } from '../../runs/store/records.ts';

/** One judge, judging responses as they are or with the attack's own words masked. */
export interface JudgeSeat {
  readonly name: string;
  readonly masked: boolean;
}

/** Returns what one judge's stored verdicts make of an attack's responses. */
export function storedOutcome(responses: readonly Pick<ResponseRecord, 'verdicts'>[], seat: JudgeSeat): AttackOutcome {
  const verdicts = responses.flatMap(({ verdicts }) =>
    verdicts.flatMap(({ judge, masked, unsafe, reason }): Verdict[] => {
      if (judge !== seat.name || masked !== seat.masked) return [];
      return [unsafe === null ? { kind: 'unscored', reason: reason ?? 'not scored' } : { kind: 'scored', unsafe }];
    }),
  );
  return attackOutcome(verdicts);
}
