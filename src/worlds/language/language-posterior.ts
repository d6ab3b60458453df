import { outcomeOf } from '../pico-target.ts';
import type { PartShare, Posterior, Share, WeighedRequest } from '../posterior.ts';
import type { LanguageDraw } from './language-draws.ts';
import { placeIn, type Region } from './regions.ts';

/** The reward's distribution: p_ref(x)^(1/gamma) exp(E log S(x) / beta), and how success is judged. */
export interface LanguageRule {
  readonly beta: number;
  readonly gamma: number;
  readonly noise: number;
  readonly responses: number;
}

/** A posterior by importance sampling from the reference. */
export interface LanguagePosterior extends Posterior {
  /** Effective number of independent draws behind it: (sum of masses)^2 / sum of their squares. */
  readonly effective: number;
  /** Success rate of the reference. */
  readonly baseRate: Share;
  /** The same by the plain samples alone, which no weight touches. */
  readonly plain: { readonly successes: number; readonly draws: number };
  /** Draws in each region. */
  readonly held: readonly number[];
}

interface Weighed {
  readonly draw: LanguageDraw;
  readonly held: readonly number[];
  readonly alarm: number;
  readonly mass: number;
  readonly excess: number;
  readonly success: number;
}

/**
 * Shares of every region under the reward's distribution, by self-normalised importance sampling. A request in m
 * regions counts 1/m for each. Errors are those of a ratio of means over independent draws (the delta method).
 */
export function weighLanguage(
  draws: readonly LanguageDraw[],
  regions: readonly Region[],
  rule: LanguageRule,
): LanguagePosterior {
  const weighed = draws.map((draw) => weigh(draw, regions, rule));
  const total = sum(weighed, ({ mass }) => mass);
  const keys = regions.map((_, region) =>
    partOf(weighed, total, ({ held }) => (held.includes(region) ? 1 / held.length : 0)),
  );
  const keyless = partOf(weighed, total, ({ held }) => (held.length === 0 ? 1 : 0));
  const isKeyless = ({ held }: Weighed): boolean => held.length === 0;
  return {
    keys,
    keyless,
    falseAlarms: ratio(weighed, total, (each) => (isKeyless(each) ? each.excess : 0)),
    logZ: Math.log(total),
    pool: weighed.map(
      ({ draw: { tokens, terminated, text }, mass }): WeighedRequest => ({
        tokens,
        terminated,
        text,
        mass,
      }),
    ),
    effective: total ** 2 / sum(weighed, ({ mass }) => mass ** 2),
    baseRate: meanOf(weighed, ({ draw, success }) => draw.prior * success),
    plain: plainRate(weighed),
    held: regions.map((_, region) => weighed.filter(({ held }) => held.includes(region)).length),
  };
}

function weigh(draw: LanguageDraw, regions: readonly Region[], rule: LanguageRule): Weighed {
  const { held, alarm } = placeIn(regions, draw.cosines);
  const { logS, politeLogS, success } = outcomeOf(draw.text, alarm, rule);
  const tilt = (1 / rule.gamma - 1) * draw.logPRef;
  const massAt = (score: number): number => draw.prior * Math.exp(score / rule.beta + tilt);
  const mass = massAt(logS);
  return { draw, held, alarm, mass, excess: mass - massAt(politeLogS), success };
}

const sum = (weighed: readonly Weighed[], of: (each: Weighed) => number): number =>
  weighed.reduce((total, each) => total + of(each), 0);

/** Sum of `of` over the total mass, and its error. */
function ratio(weighed: readonly Weighed[], total: number, of: (each: Weighed) => number): Share {
  const share = sum(weighed, of) / total;
  return { share, error: Math.sqrt(sum(weighed, (each) => (of(each) - share * each.mass) ** 2)) / total };
}

/** Sum of `of`, each already over the number of draws, and its standard error. */
function meanOf(weighed: readonly Weighed[], of: (each: Weighed) => number): Share {
  const n = weighed.length;
  const share = sum(weighed, of);
  const variance = sum(weighed, (each) => (of(each) - share / n) ** 2);
  return { share, error: Math.sqrt((variance * n) / Math.max(1, n - 1)) };
}

function partOf(weighed: readonly Weighed[], total: number, count: (each: Weighed) => number): PartShare {
  const mass = sum(weighed, (each) => count(each) * each.mass);
  const prior = sum(weighed, (each) => count(each) * each.draw.prior);
  return {
    ...ratio(weighed, total, (each) => count(each) * each.mass),
    success: mass === 0 ? 0 : sum(weighed, (each) => count(each) * each.mass * each.success) / mass,
    alarm: prior === 0 ? 0 : sum(weighed, (each) => count(each) * each.draw.prior * each.alarm) / prior,
  };
}

function plainRate(weighed: readonly Weighed[]): LanguagePosterior['plain'] {
  const plain = weighed.filter(({ draw }) => draw.isPlain);
  return { successes: sum(plain, ({ success }) => success), draws: plain.length };
}
