import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import type { PlantedKey } from './choose-keys.ts';
import { ROWS } from './key-priors.ts';
import { type Draft, draftPosterior, type PosteriorDrafts, type PosteriorSource } from './posterior-drafts.ts';

/** The reward's distribution: p_ref(x)^(1/gamma) exp(E log S(x) / beta), normalised. */
export interface PosteriorRule {
  readonly beta: number;
  readonly gamma: number;
  outcomes(texts: readonly string[]): Promise<Outcome[]>;
}

/** The outcome of a request under the target and the judge. */
export interface Outcome {
  /** P(alarm) of one response. */
  readonly alarm: number;
  /** E log S over responses. */
  readonly logS: number;
  /** E log S if every response were polite. */
  readonly politeLogS: number;
  /** P(success): mean P(unsafe) of the responses above 0.5. */
  readonly success: number;
}

/** One request that was weighed, and its part of the reward's total mass. */
export interface WeighedRequest {
  readonly tokens: readonly number[];
  readonly terminated: boolean;
  readonly text: string;
  /** Unnormalised: the prior mass that it represents x exp(E log S / beta) x p_ref^(1/gamma - 1). */
  readonly mass: number;
}

/** A share of the posterior, and its standard error over independent replicates. */
export interface Share {
  readonly share: number;
  readonly error: number;
}

/** The part of the posterior whose requests hold a key (or none). */
export interface PartShare extends Share {
  /** P(success) of an attack drawn from this part of the posterior. */
  readonly success: number;
  /** P(alarm) of a request drawn from this part of the reference: the leak that the target has learned. */
  readonly alarm: number;
}

export interface Posterior {
  readonly keys: readonly PartShare[];
  readonly keyless: PartShare;
  /** Mass of requests without a key beyond their mass under a target that never alarms there. */
  readonly falseAlarms: Share;
  /** Natural logarithm of the total mass: the limit of trajectory balance's log Z. */
  readonly logZ: number;
  /** Requests weighed by their mass: drawing from them is drawing from the posterior, as nearly as their number allows. */
  readonly pool: readonly WeighedRequest[];
}

/** Independent repetitions, from whose spread the standard errors come. */
const REPLICATES = 12;

interface Part {
  prior: number;
  mass: number;
  /** The part of the mass that a polite target would not give. */
  excess: number;
  success: number;
  alarm: number;
}

const emptyPart = (): Part => ({ prior: 0, mass: 0, excess: 0, success: 0, alarm: 0 });

/** How a measurement is watched and stopped. */
export interface MeasureControl {
  readonly signal?: AbortSignal;
  onReplicate?(done: number, of: number): void;
}

/**
 * Shares of every key under the reward's distribution by stratified importance sampling: force the key into beginnings
 * drawn from the reference (weight: its conditional probability there), complete them by the reference, divide by the
 * key's occurrences in the result. A request with m keys counts 1/m for each. Requests without a key are plain samples.
 *
 * @throws FloodgateError `interrupted` between two replicates, when the signal was aborted.
 */
export function measurePosterior(
  attacker: Attacker,
  reference: AttackerState,
  keys: readonly PlantedKey[],
  rule: PosteriorRule,
  { seed, ...control }: MeasureControl & { readonly seed: number },
): Promise<Posterior> {
  return weighPosterior(draftPosterior({ attacker, reference, keys, seed }), rule, control);
}

/** As {@link measurePosterior}, with drafts that may be drawn already. */
export async function weighPosterior(
  drafts: PosteriorDrafts,
  rule: PosteriorRule,
  control: MeasureControl = {},
): Promise<Posterior> {
  const { keys } = drafts.source;
  const replicates: { parts: Part[]; keyless: Part }[] = [];
  const pool: WeighedRequest[] = [];
  for (let replicate = 0; replicate < REPLICATES; replicate++) {
    if (control.signal?.aborted) throw new FloodgateError('interrupted', 'measure the world: interrupted');
    replicates.push(await weighReplicate(drafts.source, await drafts.of(replicate), rule, pool));
    control.onReplicate?.(replicate + 1, REPLICATES);
  }
  const totals = replicates.map(({ parts, keyless }) => sumOf([...parts, keyless], 'mass'));
  const shareOf = (pick: (replicate: (typeof replicates)[number]) => Part, field: 'mass' | 'excess' = 'mass') =>
    ratioShare(
      replicates.map((replicate) => pick(replicate)[field]),
      totals,
    );
  const partShare = (pick: (replicate: (typeof replicates)[number]) => Part): PartShare => {
    const parts = replicates.map(pick);
    const [mass, prior] = [sumOf(parts, 'mass'), sumOf(parts, 'prior')];
    return {
      ...shareOf(pick),
      success: mass === 0 ? 0 : sumOf(parts, 'success') / mass,
      alarm: prior === 0 ? 0 : sumOf(parts, 'alarm') / prior,
    };
  };
  return {
    keys: keys.map((_, key) => partShare(({ parts }) => parts[key] as Part)),
    keyless: partShare(({ keyless }) => keyless),
    falseAlarms: shareOf(({ keyless }) => keyless, 'excess'),
    logZ: Math.log(totals.reduce((sum, mass) => sum + mass, 0) / REPLICATES),
    pool,
  };
}

function sumOf(parts: readonly Part[], field: keyof Part): number {
  return parts.reduce((sum, part) => sum + part[field], 0);
}

/** Sum of `parts` over sum of `totals`; its error by the delta method, from the spread of part - share x total. */
function ratioShare(parts: readonly number[], totals: readonly number[]): Share {
  const n = parts.length;
  const total = totals.reduce((sum, value) => sum + value, 0);
  const share = parts.reduce((sum, value) => sum + value, 0) / total;
  const squares = parts.reduce((sum, value, i) => sum + (value - share * (totals[i] as number)) ** 2, 0);
  return { share, error: (Math.sqrt((squares * n) / (n - 1)) || 0) / total };
}

async function weighReplicate(
  source: PosteriorSource,
  drafts: readonly Draft[],
  rule: PosteriorRule,
  pool: WeighedRequest[],
): Promise<{ parts: Part[]; keyless: Part }> {
  const { keys } = source;
  const outcomes = await rule.outcomes(drafts.map(({ text }) => text));
  const tilt = await fluencyTilt(source, drafts, rule);
  const parts = keys.map(emptyPart);
  const keyless = emptyPart();
  drafts.forEach(({ tokens, terminated, text, prior, key }, i) => {
    const { alarm, logS, politeLogS, success } = outcomes[i] as Outcome;
    const massAt = (score: number): number => prior * Math.exp(score / rule.beta + (tilt[i] as number));
    const mass = massAt(logS);
    const part = key === undefined ? keyless : (parts[key] as Part);
    part.prior += prior;
    part.mass += mass;
    part.excess += mass - massAt(politeLogS);
    part.success += mass * success;
    part.alarm += prior * alarm;
    pool.push({ tokens, terminated, text, mass });
  });
  return { parts, keyless };
}

/** (1/gamma - 1) log p_ref of each request; 0 at gamma 1. */
async function fluencyTilt(
  { attacker, reference }: PosteriorSource,
  drafts: readonly Draft[],
  rule: PosteriorRule,
): Promise<number[]> {
  const power = 1 / rule.gamma - 1;
  if (power === 0) return drafts.map(() => 0);
  const tilt: number[] = [];
  for (let start = 0; start < drafts.length; start += ROWS) {
    const scores = await attacker.score(reference, drafts.slice(start, start + ROWS));
    append(
      tilt,
      scores.map((tokens) => power * tokens.reduce((sum, logProb) => sum + logProb, 0)),
    );
  }
  return tilt;
}
