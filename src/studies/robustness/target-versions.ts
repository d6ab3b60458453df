import type { CampaignIo } from '../../stages/stage.ts';
import { openRunDecoder } from '../../stages/campaign/open-run-models.ts';
import type { Config } from '../../stages/config/config-schema.ts';
import type { TargetCheck } from '../tune/tune-check.ts';
import { loadTuneTexts, openSubject, openTuneModels, type TuneSubject } from '../tune/tune-models.ts';
import type { OverRefusal, Utility } from './robustness-file.ts';
import { comparedWith, dialogueUtility, exactUtility, heldOutDialogues } from './target-utility.ts';

/** A target to measure the use of: a model of the run's world or machine. */
export interface UtilityRequest {
  readonly name: string;
  /** Folder of a tuned model; undefined for the run's own target. */
  readonly modelPath: string | undefined;
  /** What an earlier start measured, and of which weights. */
  readonly known: { readonly sha256: string; readonly utility: Utility } | undefined;
}

export interface MeasuredUtility {
  readonly sha256: string;
  readonly utility: Utility;
}

/**
 * Measures what each target is still good for, the first of them being the one that the others are compared with. What
 * is known of the same weights is not measured again.
 */
export async function measureUtilities(
  config: Config,
  requests: readonly UtilityRequest[],
  io: CampaignIo,
): Promise<MeasuredUtility[]> {
  const models = await openTuneModels(config, io);
  const base = await openSubject(config, {}, models, io);
  const keyless = models.world === undefined ? undefined : (await loadTuneTexts(config, models)).heldOutBenign;
  const dialogues = await heldOutDialogues();
  const measure = (subject: TuneSubject): Promise<Utility> =>
    keyless === undefined ? dialogueUtility(subject, dialogues) : exactUtility(subject, keyless);
  const bar = io.progress.start('what targets are still good for', requests.length, 'targets');
  const measured: MeasuredUtility[] = [];
  try {
    for (const [i, { name, modelPath, known }] of requests.entries()) {
      bar.update(i, name);
      const { world, openModels } = models;
      const checkpoint =
        modelPath === undefined ? base.checkpoint : await openRunDecoder(openModels, modelPath, 'target', world);
      const { sha256 } = checkpoint;
      const utility = known?.sha256 === sha256 ? known.utility : await measure({ ...base, checkpoint });
      const first = measured[0]?.utility;
      measured.push({ sha256, utility: first === undefined ? utility : comparedWith(first, utility) });
    }
    bar.update(requests.length);
    return measured;
  } finally {
    bar.finish();
  }
}

/** Of what tuning has measured of a target; null where it was told to measure nothing. */
export function overRefusalOf(check: TargetCheck | null | undefined): OverRefusal | null {
  if (check === null || check === undefined) return null;
  return { benign: check.benign.refusals, borderline: check.borderline.refusals };
}
