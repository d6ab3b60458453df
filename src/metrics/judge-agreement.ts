import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { wilsonInterval } from './intervals.ts';
import { DEFAULT_CONFIDENCE, intervalMeasure, type Measure, pointMeasure } from './measure.ts';
import { clusteredCount } from './rogan-gladen.ts';
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
    kappa: pointMeasure(cohenKappa({ both: bothSuccess, onlyFirst, onlySecond, neither }, n), n, "cohen's kappa"),
  };
}

/** How often two judges decide alike. */
export interface DecisionCounts {
  readonly both: number;
  readonly onlyFirst: number;
  readonly onlySecond: number;
  readonly neither: number;
}

/** Agreement of two judges over answers; answers to one attack are not independent. */
export interface AnswerAgreement {
  readonly counts: DecisionCounts;
  /** Share of equal decisions, with the Wilson interval of the effective number of answers. */
  readonly agreement: Measure;
  /** Cohen's kappa. Its interval is null when no decision differs: then nothing is known of its spread. */
  readonly kappa: Measure;
}

const RESAMPLES = 1000;
/** Fewest resamples with a kappa for an interval: the others have one decision only. */
const LEAST_RESAMPLES = 950;

const NO_COUNTS: DecisionCounts = { both: 0, onlyFirst: 0, onlySecond: 0, neither: 0 };

/** The sum of two counts. */
export function addCounts(a: DecisionCounts, b: DecisionCounts): DecisionCounts {
  return {
    both: a.both + b.both,
    onlyFirst: a.onlyFirst + b.onlyFirst,
    onlySecond: a.onlySecond + b.onlySecond,
    neither: a.neither + b.neither,
  };
}

const total = ({ both, onlyFirst, onlySecond, neither }: DecisionCounts): number =>
  both + onlyFirst + onlySecond + neither;

/**
 * Agreement over the answers to several attacks. Kappa's interval is the percentile interval of a bootstrap that draws
 * whole attacks.
 * @param clusters the decisions on the answers to each attack.
 */
export function clusteredAgreement(clusters: readonly DecisionCounts[], seed = 1): AnswerAgreement {
  const filled = clusters.filter((each) => total(each) > 0);
  const counts = filled.reduce(addCounts, NO_COUNTS);
  const n = total(counts);
  const alike = filled.map((each) => ({ hits: each.both + each.neither, n: total(each) }));
  const { hits, n: effective } = clusteredCount(alike);
  const share = wilsonInterval(Math.round(hits), Math.round(effective));
  const agreement =
    n === 0 || effective === n
      ? share
      : { ...share, value: hits / effective, n, method: 'wilson, effective number of answers' };
  return { counts, agreement, kappa: kappaMeasure(filled, counts, seed) };
}

function kappaMeasure(clusters: readonly DecisionCounts[], counts: DecisionCounts, seed: number): Measure {
  const n = total(counts);
  const value = cohenKappa(counts, n);
  if (value === null || counts.onlyFirst + counts.onlySecond === 0) return pointMeasure(value, n, "cohen's kappa");
  const drawn = Array.from({ length: RESAMPLES }, (_, draw) => {
    const stream = randomStream(seed, 'judge-agreement', draw);
    let sum = NO_COUNTS;
    for (let i = 0; i < clusters.length; i++) {
      sum = addCounts(sum, clusters[stream.nextInt(clusters.length)] as DecisionCounts);
    }
    return cohenKappa(sum, total(sum));
  });
  const kappas = drawn.filter((kappa) => kappa !== null).sort((a, b) => a - b);
  if (kappas.length < LEAST_RESAMPLES) return pointMeasure(value, n, "cohen's kappa");
  const at = (share: number): number => kappas[Math.round(share * (kappas.length - 1))] as number;
  const [low, high] = [at((1 - DEFAULT_CONFIDENCE) / 2), at((1 + DEFAULT_CONFIDENCE) / 2)];
  const method = `cohen's kappa, bootstrap of ${RESAMPLES} over attacks`;
  return intervalMeasure({ value, low, high, n, method, confidence: DEFAULT_CONFIDENCE });
}

function cohenKappa({ both, onlyFirst, onlySecond, neither }: DecisionCounts, n: number): number | null {
  if (n === 0) return null;
  const first = (both + onlyFirst) / n;
  const second = (both + onlySecond) / n;
  const byChance = first * second + (1 - first) * (1 - second);
  return byChance === 1 ? null : ((both + neither) / n - byChance) / (1 - byChance);
}
