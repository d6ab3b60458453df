import type { MetricRecord } from '../../runs/store/records.ts';
import { createKeyFinder, type Key, wordsOf } from '../../worlds/keys.ts';
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

/** The same as metrics of a run. */
export function causesWorldMetrics(
  keys: readonly Pick<Key, 'words'>[],
  sample: { readonly texts: readonly string[]; readonly successes: readonly number[] },
  causes: readonly (readonly string[])[],
): MetricRecord[] {
  const truth = causesTruth(keys, sample, causes);
  const share = (count: number): number | null => (truth.causes === 0 ? null : count / truth.causes);
  return [
    plainMetric('causesOneKey', share(truth.oneKey), truth.causes),
    plainMetric('causesPure', share(truth.pure), truth.causes),
    plainMetric('causesKeyRecall', truth.found / Math.max(1, keys.length), keys.length),
    plainMetric('keysInSuccesses', truth.held, keys.length),
  ];
}
