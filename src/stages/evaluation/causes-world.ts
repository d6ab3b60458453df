import type { MetricRecord } from '../../runs/store/records.ts';
import { createKeyFinder, type Key, wordsOf } from '../../worlds/keys.ts';
import { type KnownWorld, madeWorld, waysHeldBy } from '../../worlds/world-registry.ts';
import { plainMetric } from '../metric-records.ts';

/** The causes of a synthetic world's successes against its planted keys. */
export interface CausesTruth {
  readonly causes: number;
  /** Causes that hold exactly one planted key. */
  readonly oneKey: number;
  /** Those of them whose other words are no part of another key either. */
  readonly pure: number;
  /** Those that are a planted key, word for word. */
  readonly exact: number;
  /** Planted keys that some cause holds. */
  readonly found: number;
  /** Planted keys that some success holds. */
  readonly held: number;
}

/** @param causes their words; an empty one is left out. */
export function causesTruth(
  keys: readonly Pick<Key, 'words'>[],
  { texts, successes }: { readonly texts: readonly string[]; readonly successes: readonly number[] },
  causes: readonly (readonly string[])[],
): CausesTruth {
  const finder = createKeyFinder(keys);
  const keyWords = keys.map(({ words }) => new Set(words));
  const judged = causes
    .filter((words) => words.length > 0)
    .map((words) => {
      const held = finder.heldBy(words);
      const own = held.length === 1 ? keyWords[held[0] as number] : undefined;
      const rest = own === undefined ? [] : words.filter((word) => !own.has(word));
      const isPure = own !== undefined && !rest.some((word) => keyWords.some((each) => each.has(word)));
      return { held, isOne: own !== undefined, isPure, isExact: own !== undefined && words.length === own.size };
    });
  return {
    causes: judged.length,
    oneKey: judged.filter(({ isOne }) => isOne).length,
    pure: judged.filter(({ isPure }) => isPure).length,
    exact: judged.filter(({ isExact }) => isExact).length,
    found: new Set(judged.flatMap(({ held }) => held)).size,
    held: new Set(successes.flatMap((attack) => finder.heldBy(wordsOf(texts[attack] as string)))).size,
  };
}

interface CauseSample {
  readonly texts: readonly string[];
  readonly successes: readonly number[];
}

/** The same as metrics of a run, in a world of any kind. */
export async function causesWorldMetrics(
  world: KnownWorld,
  sample: CauseSample,
  causes: readonly (readonly string[])[],
): Promise<MetricRecord[]> {
  const made = madeWorld(world);
  const truth =
    made === undefined ? await causesInRegions(world, sample, causes) : causesTruth(made.keys, sample, causes);
  const share = (count: number): number | null => (truth.causes === 0 ? null : count / truth.causes);
  const keys = world.keys.length;
  return [
    plainMetric('causesOneKey', share(truth.oneKey), truth.causes),
    ...(truth.pure === undefined ? [] : [plainMetric('causesPure', share(truth.pure), truth.causes)]),
    plainMetric('causesKeyRecall', truth.found / Math.max(1, keys), keys),
    plainMetric('keysInSuccesses', truth.held, keys),
  ];
}

/** Causes as requests of their own: the regions that hold them. No word belongs to a region. */
async function causesInRegions(
  world: KnownWorld,
  { texts, successes }: CauseSample,
  causes: readonly (readonly string[])[],
): Promise<Omit<CausesTruth, 'pure' | 'exact'> & { readonly pure?: undefined }> {
  const parts = causes.filter((words) => words.length > 0).map((words) => words.join(' '));
  const held = await waysHeldBy(world, [...parts, ...successes.map((attack) => texts[attack] as string)]);
  const judged = held.slice(0, parts.length);
  return {
    causes: parts.length,
    oneKey: judged.filter(({ length }) => length === 1).length,
    found: new Set(judged.flat()).size,
    held: new Set(held.slice(parts.length).flat()).size,
  };
}
