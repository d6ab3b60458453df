import { FloodgateError } from '../base/errors.ts';
import { wilsonInterval } from './intervals.ts';
import { type Measure, pointMeasure } from './measure.ts';
import type { AttackOutcome } from './success.ts';

/** Agreement of two judges over the attacks that both could score. */
export interface JudgeAgreement {
  readonly bothSuccess: number;
  readonly onlyFirst: number;
  readonly onlySecond: number;
  readonly neither: number;
  /** Attacks that at least one judge could not score. */
  readonly excluded: number;
  /** Share of equal decisions, with a Wilson interval. */
  readonly agreement: Measure;
  /** Cohen's kappa: agreement beyond chance, 1 = perfect; null when both judges gave every attack the same answer. */
  readonly kappa: Measure;
}

/** Agreement of two judges on the same attacks, in order. @throws FloodgateError `usage` when the lists differ in length. */
export function judgeAgreement(first: readonly AttackOutcome[], second: readonly AttackOutcome[]): JudgeAgreement {
  if (first.length !== second.length) {
    throw new FloodgateError(
      'usage',
      `judge agreement: outcomes do not pair, got ${first.length} and ${second.length}, expected equal lengths`,
    );
  }
  const table = { bothSuccess: 0, onlyFirst: 0, onlySecond: 0, neither: 0 };
  first.forEach((a, i) => {
    const b = second[i] as AttackOutcome;
    if (a.kind === 'unscored' || b.kind === 'unscored') return;
    if (a.isSuccess) table[b.isSuccess ? 'bothSuccess' : 'onlyFirst'] += 1;
    else table[b.isSuccess ? 'onlySecond' : 'neither'] += 1;
  });
  const { bothSuccess, onlyFirst, onlySecond, neither } = table;
  const n = bothSuccess + onlyFirst + onlySecond + neither;
  return {
    ...table,
    excluded: first.length - n,
    agreement: wilsonInterval(bothSuccess + neither, n),
    kappa: pointMeasure(cohenKappa(table, n), n, "cohen's kappa"),
  };
}

function cohenKappa(
  {
    bothSuccess,
    onlyFirst,
    onlySecond,
    neither,
  }: Pick<JudgeAgreement, 'bothSuccess' | 'onlyFirst' | 'onlySecond' | 'neither'>,
  n: number,
): number | null {
  if (n === 0) return null;
  const first = (bothSuccess + onlyFirst) / n;
  const second = (bothSuccess + onlySecond) / n;
  const byChance = first * second + (1 - first) * (1 - second);
  return byChance === 1 ? null : ((bothSuccess + neither) / n - byChance) / (1 - byChance);
}
