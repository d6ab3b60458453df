import { meanOverNoisySeeds } from '../../src/metrics/intervals.ts';
import type { Measure } from '../../src/metrics/measure.ts';
import { CLAIMS, type ClaimComponent, type ClaimDefinition } from './claim-definitions.ts';
import type { SeedResult } from './seed-result.ts';
import { errorWithinSeed } from './within-seed.ts';

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
  /** Name and threshold of the component that stands worst. */
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

/** The component that stands worst: by verdict, then by how far its interval reaches below its threshold. */
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
