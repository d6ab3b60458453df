import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { type ReferenceDraw, referenceFailureRate } from '../../src/metrics/reference-failure-rate.ts';

const ATTACKS = 400;
const RESPONSES = 5;

/** A table in place of two models: what each gives every attack, and how often the target fails on it. */
interface RateTable {
  readonly pRef: Float64Array;
  readonly pi: Float64Array;
  readonly leaks: Float64Array;
  readonly rate: number;
}

export interface RateSetting {
  /** Probability of a failing attack under the reference. */
  readonly failingShare: number;
  /** Nats by which the attacker prefers an attack that always fails. */
  readonly tilt: number;
  /** Standard deviation in nats of the attacker's noise. */
  readonly noise: number;
  /** Share of the attacks that the attacker has nearly forgotten: its blind spots. */
  readonly blind: number;
}

/** From no proposal at all to a good one, a rough one, and one that is blind to many failures. */
export const RATE_SETTINGS: Readonly<Record<string, RateSetting>> = Object.fromEntries(
  [0.002, 0.02, 0.2, 0.6].flatMap((failingShare) => [
    [`${failingShare}, attacker = reference`, { failingShare, tilt: 0, noise: 0, blind: 0 }],
    [`${failingShare}, good attacker`, { failingShare, tilt: 4, noise: 0.5, blind: 0 }],
    [`${failingShare}, rough attacker`, { failingShare, tilt: 4, noise: 1.5, blind: 0 }],
    [`${failingShare}, attacker with blind spots`, { failingShare, tilt: 4, noise: 0.5, blind: 0.3 }],
  ]),
);

function createTable({ failingShare, tilt, noise, blind }: RateSetting, stream: RandomStream): RateTable {
  const leaks = Float64Array.from({ length: ATTACKS }, () =>
    stream.nextFloat() < 0.1 ? 0.2 + 0.8 * stream.nextFloat() : 0,
  );
  const raw = Float64Array.from(leaks, () => Math.exp(1.5 * stream.nextNormal()));
  const massOf = (fails: boolean): number =>
    raw.reduce((sum, p, i) => sum + ((leaks[i] as number) > 0 === fails ? p : 0), 0);
  const failing = massOf(true);
  const safe = massOf(false);
  const pRef = raw.map((p, i) =>
    (leaks[i] as number) > 0 ? (p * failingShare) / failing : (p * (1 - failingShare)) / safe,
  );
  const wanted = pRef.map((p, i) => {
    const forgotten = stream.nextFloat() < blind ? -6 : tilt * (leaks[i] as number);
    return p * Math.exp(forgotten + noise * stream.nextNormal());
  });
  const total = wanted.reduce((sum, p) => sum + p, 0);
  return {
    pRef,
    leaks,
    pi: wanted.map((p) => p / total),
    rate: pRef.reduce((sum, p, i) => sum + p * (leaks[i] as number), 0),
  };
}

function drawFrom(
  { pRef, pi, leaks }: RateTable,
  from: Float64Array,
  count: number,
  stream: RandomStream,
): ReferenceDraw[] {
  return Array.from({ length: count }, () => {
    let left = stream.nextFloat();
    let index = from.findIndex((p) => {
      left -= p;
      return left < 0;
    });
    if (index === -1) index = from.length - 1;
    const leak = leaks[index] as number;
    const unsafe = Array.from({ length: RESPONSES }, () => stream.nextFloat() < leak).filter(Boolean).length;
    return {
      logPRef: Math.log(pRef[index] as number),
      logPi: Math.log(pi[index] as number),
      failure: unsafe / RESPONSES,
    };
  });
}

export interface RateStress {
  readonly held: number;
  readonly flagged: number;
  readonly heldWhenFlagged: number;
  readonly meanWidth: number;
}

/** Counts in how many samples, each in a table of its own, the interval held the rate. */
export function runRateStress(name: string, draws: number, samples: number, seed: number): RateStress {
  const setting = RATE_SETTINGS[name] as RateSetting;
  const result = { held: 0, flagged: 0, heldWhenFlagged: 0, meanWidth: 0 };
  for (let sample = 0; sample < samples; sample++) {
    const stream = randomStream(seed, 'rate stress', name, draws, sample);
    const table = createTable(setting, stream);
    const { rate, flaw } = referenceFailureRate({
      reference: drawFrom(table, table.pRef, draws, stream),
      proposal: drawFrom(table, table.pi, draws, stream),
    });
    const holds = (rate.low as number) <= table.rate && table.rate <= (rate.high as number);
    if (holds) result.held++;
    if (flaw !== undefined) result.flagged++;
    if (flaw !== undefined && holds) result.heldWhenFlagged++;
    result.meanWidth += ((rate.high as number) - (rate.low as number)) / samples;
  }
  return result;
}
