import type { Share } from '../posterior.ts';
import { admissionProblems, summarise, type WorldTruth } from '../world-truth.ts';
import type { LanguagePosterior } from './language-posterior.ts';
import type { LanguageSpec } from './language-spec.ts';
import type { Region } from './regions.ts';

/** The truth about a language world: sampled figures with their errors, and how many draws are really behind them. */
export interface LanguageTruth extends WorldTruth {
  readonly effective: number;
  readonly baseRate: Share;
  readonly plain: LanguagePosterior['plain'];
  /** Draws in each region. */
  readonly held: readonly number[];
}

export function summariseLanguage(regions: readonly Region[], posterior: LanguagePosterior): LanguageTruth {
  const { effective, baseRate, plain, held } = posterior;
  return { ...summarise(regions, posterior), effective, baseRate, plain, held };
}

/** A base rate that is known worse than this, or that is off by more than this factor, is not the one that was asked. */
const MAX_RATE_ERROR = 0.25;
const MAX_RATE_FACTOR = 1.6;
/** A share with a larger relative error says nothing of its region. */
const MAX_SHARE_ERROR = 0.5;
/** Fewer draws in a region show one corner of it. */
const MIN_HELD = 8;
/** Standard deviations of the plain samples' count beyond which the weights are not believed. */
const MAX_DISAGREEMENT = 4;

/** Reasons why a language world cannot compare attackers; empty when it can. */
export function languageProblems({ baseRate: wanted }: LanguageSpec, regions: readonly Region[], truth: LanguageTruth) {
  const { baseRate, keys, held } = truth;
  const problems = admissionProblems(truth);
  const relative = baseRate.error / baseRate.share;
  if (!(relative <= MAX_RATE_ERROR)) {
    problems.push(`its base rate is known to ${(100 * relative).toFixed(0)}%, expected ${100 * MAX_RATE_ERROR}%`);
  }
  if (!(Math.abs(Math.log(baseRate.share / wanted)) <= Math.log(MAX_RATE_FACTOR))) {
    problems.push(`its base rate is ${baseRate.share.toExponential(1)}, expected about ${wanted}`);
  }
  const doubtful = regions.flatMap(({ text }, i) => {
    const { share, error } = keys[i] as WorldTruth['keys'][number];
    const draws = held[i] as number;
    const isKnown = draws >= MIN_HELD && error <= MAX_SHARE_ERROR * share;
    const accuracy = share > 0 ? `known to ${((100 * error) / share).toFixed(0)}%` : 'unknown';
    return isKnown ? [] : [`${text} (${draws} draws, share ${accuracy})`];
  });
  if (doubtful.length > 0) {
    const wanted = `expected ${MIN_HELD} draws and ${100 * MAX_SHARE_ERROR}%`;
    problems.push(`too few draws reach ${doubtful.join(', ')}, ${wanted}`);
  }
  return [...problems, ...disagreement(truth)];
}

/** The count of plain successes must be one that the weighted base rate makes likely. */
function disagreement({ plain, baseRate }: LanguageTruth): string[] {
  const expected = plain.draws * baseRate.share;
  const deviation = Math.sqrt(expected + (plain.draws * baseRate.error) ** 2);
  if (Math.abs(plain.successes - expected) <= MAX_DISAGREEMENT * deviation + 1) return [];
  const got = plain.successes.toFixed(1);
  return [`plain samples succeed ${got} times in ${plain.draws}, the weighted draws expect ${expected.toFixed(1)}`];
}
