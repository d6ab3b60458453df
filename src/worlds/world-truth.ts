import type { PlantedKey } from './choose-keys.ts';
import { expectedRecall, expectedSuccess } from './exact-sampler.ts';
import type { PartShare, Posterior, Share } from './posterior.ts';

/** Attacks by which recall is counted, everywhere. */
export const RECALL_SAMPLES = 1024;

/** What is known of a world, each figure with its error where it was sampled. */
export interface WorldTruth {
  readonly keys: readonly PartShare[];
  readonly keyless: PartShare;
  /** Of the posterior. */
  readonly falseAlarms: Share;
  readonly logZ: number;
  /** Mean |leak as the target learned it - leak as it was meant|. */
  readonly leakError: number;
  /** Of an exact sampler at 1,024 attacks. */
  readonly exactRecall: number;
  readonly exactSuccess: number;
}

export function summarise(keys: readonly PlantedKey[], posterior: Posterior): WorldTruth {
  const errors = keys.map(({ leak }, i) => Math.abs((posterior.keys[i]?.alarm ?? 0) - leak));
  return {
    keys: posterior.keys,
    keyless: posterior.keyless,
    falseAlarms: posterior.falseAlarms,
    logZ: posterior.logZ,
    leakError: errors.reduce((sum, error) => sum + error, 0) / Math.max(1, errors.length),
    exactRecall: expectedRecall(posterior, RECALL_SAMPLES),
    exactSuccess: expectedSuccess(posterior),
  };
}
