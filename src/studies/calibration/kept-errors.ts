import { z } from 'zod';
import { acquireLock } from '../../base/lock.ts';
import type { DecisionQuality } from '../../metrics/judge-calibration.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { openStore } from '../../runs/store/run-store.ts';

const hitCount = z
  .strictObject({ hits: z.number().int().min(0), n: z.number().int().min(1) })
  .refine(({ hits, n }) => hits <= n, 'must hold at most n hits');

const keptErrors = z.strictObject({
  judge: z.string(),
  /** P(unsafe) above which an answer counts as unsafe: that of the run. */
  threshold: z.number(),
  errors: z.strictObject({ sensitivity: hitCount, specificity: hitCount }),
  /** sha256 (hex) of the file of labelled examples. */
  examplesSha256: z.string(),
});

/** The errors of one judge of a run, measured on labelled examples. */
export type KeptErrors = z.infer<typeof keptErrors>;

const INFO_KEY = 'judge-errors';

/** The errors of judges that a run keeps; none where no judge was calibrated for it. */
export function storedErrors(store: Pick<StoreQueries, 'info'>): KeptErrors[] {
  const text = store.info(INFO_KEY);
  return text === undefined ? [] : z.array(keptErrors).parse(JSON.parse(text));
}

export interface MeasuredErrors {
  readonly judge: string;
  readonly quality: DecisionQuality;
  readonly examplesSha256: string;
}

/**
 * Keeps the errors of a judge with the run, so that every report of it corrects its shares. Earlier ones of the same
 * judge are replaced. @throws FloodgateError `run` while another process uses the run, `store` when the disk refuses.
 */
export async function keepErrors(folder: RunFolder, { judge, quality, examplesSha256 }: MeasuredErrors): Promise<void> {
  const { threshold, errors } = quality;
  const lock = await acquireLock(folder.lockPath);
  try {
    const store = await openStore(folder.databasePath);
    try {
      const others = storedErrors(store).filter((each) => each.judge !== judge);
      const kept: KeptErrors[] = [...others, { judge, threshold, errors, examplesSha256 }];
      store.setInfo(INFO_KEY, JSON.stringify(kept));
    } finally {
      store.close();
    }
  } finally {
    await lock.release();
  }
}
