import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { meanOverNoisySeeds } from '../../src/metrics/intervals.ts';
import type { Measure } from '../../src/metrics/measure.ts';
import { CLAIMS, type ClaimComponent, type ClaimDefinition } from './claim-definitions.ts';
import type { ByAttacker, SeedResult, TunedFigures } from './seed-result.ts';

export type ClaimVerdict = 'held' | 'failed' | 'undecided';

export interface DecidedComponent {
  readonly name: string;
  readonly threshold: number;
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly seeds: number;
  readonly verdict: ClaimVerdict;
}

export interface DecidedClaim {
  readonly id: ClaimDefinition['id'];
  readonly statement: string;
  /** Name and threshold of the worst component. */
  readonly statistic: string;
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly verdict: ClaimVerdict;
  readonly seeds: number;
  /** Target calls that its attackers used, over all seeds. */
  readonly cost: { readonly targetCalls: number };
  readonly components: readonly DecidedComponent[];
}

function verdictOf({ value, low, high }: Measure, threshold: number): ClaimVerdict {
  if (value === null || low === null || high === null) return 'undecided';
  if (low > threshold) return 'held';
  return high < threshold ? 'failed' : 'undecided';
}

function decideComponent(component: ClaimComponent, seeds: readonly SeedResult[]): DecidedComponent {
  const measured = seeds.flatMap((seed) => {
    const value = component.of(seed);
    return value === undefined ? [] : [{ value, error: errorWithinSeed(component, seed) }];
  });
  const values = measured.map(({ value }) => value);
  const measure = meanOverNoisySeeds(
    values,
    measured.map(({ error }) => error),
  );
  const { value, low, high } = measure;
  const { name, threshold } = component;
  return { name, threshold, value, low, high, seeds: values.length, verdict: verdictOf(measure, threshold) };
}

const RANK: Readonly<Record<ClaimVerdict, number>> = { failed: 0, undecided: 1, held: 2 };

/** The worst component: by verdict, then by how far its interval reaches below its threshold. */
function worst(components: readonly DecidedComponent[]): DecidedComponent {
  const reach = ({ low, threshold }: DecidedComponent): number => (low === null ? -Infinity : low - threshold);
  return [...components].sort(
    (a, b) => RANK[a.verdict] - RANK[b.verdict] || reach(a) - reach(b),
  )[0] as DecidedComponent;
}

function decideClaim(claim: ClaimDefinition, seeds: readonly SeedResult[], isWorld: boolean): DecidedClaim {
  const components = claim.components
    .filter(({ isForRealModels }) => !(isWorld && isForRealModels === true))
    .map((component) => decideComponent(component, seeds));
  const decisive = worst(components);
  const targetCalls = seeds.reduce(
    (sum, { attackers }) => sum + Object.values(attackers).reduce((all, { targetCalls: calls }) => all + calls, 0),
    0,
  );
  return {
    id: claim.id,
    statement: claim.statement,
    statistic: `${decisive.name} (threshold ${decisive.threshold})`,
    value: decisive.value,
    low: decisive.low,
    high: decisive.high,
    verdict: decisive.verdict,
    seeds: decisive.seeds,
    cost: { targetCalls },
    components,
  };
}

/** Every claim by the rule of docs/claims.md: held when all components are, failed when one has failed. */
export function decideClaims(seeds: readonly SeedResult[], isWorld: boolean): DecidedClaim[] {
  return CLAIMS.map((claim) => decideClaim(claim, seeds, isWorld));
}

type Errors<Figures> = { readonly [Name in keyof Figures]?: number | undefined };

/** `figures` with each one that has an error moved by a normal draw of it; a share or a count is never negative. */
function moved<Figures extends object>(
  figures: Figures,
  errors: Errors<Figures> | undefined,
  random: RandomStream,
): Figures {
  const changed = Object.entries<number | undefined>(errors ?? {}).map(([name, error = 0]) => {
    const value = figures[name as keyof Figures] as number;
    return [name, Math.max(0, value + error * random.nextNormal())];
  });
  return { ...figures, ...Object.fromEntries(changed) };
}

function each<T>(row: ByAttacker<T>, change: (value: T) => T): ByAttacker<T> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value as T)]));
}

/** The seed's result as it might have come out with other attacks of the same attackers. */
function redrawn(seed: SeedResult, random: RandomStream): SeedResult {
  const { attackers, retrained, transfer, tuned } = seed;
  const redraw = <Figures extends { readonly errors?: Errors<Figures> | undefined }>(row: ByAttacker<Figures>) =>
    each(row, (figures) => moved(figures, figures.errors, random));
  return {
    ...seed,
    attackers: redraw(attackers),
    ...(retrained === undefined ? {} : { retrained: redraw(retrained) }),
    ...(transfer === undefined
      ? {}
      : { transfer: Object.fromEntries(Object.entries(transfer).map(([name, row]) => [name, redraw(row)])) }),
    ...(tuned === undefined ? {} : { tuned: each(tuned, (target) => redrawnTarget(target, random)) }),
  };
}

function redrawnTarget(target: TunedFigures, random: RandomStream): TunedFigures {
  const { asr, overRefusal, errors } = target;
  if (errors === undefined) return target;
  const refused =
    overRefusal === undefined ? {} : moved({ overRefusal }, { overRefusal: errors.overRefusal ?? 0 }, random);
  return { ...target, asr: moved(asr, errors.asr, random), ...refused };
}

/** Gives the standard deviation to about 4%. */
const DRAWS = 400;

/**
 * Standard error of a component at one seed, from the draw of the evaluated attacks alone: every figure is drawn again
 * within the interval that subsampling (counts) or Wilson's formula (shares) gives it, and the component is computed from it.
 */
export function errorWithinSeed(component: ClaimComponent, seed: SeedResult): number {
  const random = randomStream(seed.seed, 'within seed', component.name);
  const values = Array.from({ length: DRAWS }, () => component.of(redrawn(seed, random))).filter(
    (value) => value !== undefined && Number.isFinite(value),
  ) as number[];
  if (values.length < 2) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}
