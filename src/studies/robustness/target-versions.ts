import { type CampaignIo } from '../../stages/stage.ts';
import { openRunDecoder } from '../../stages/campaign/open-run-models.ts';
import { type Config } from '../../stages/campaign/config-schema.ts';
import { type TargetCheck } from '../tune/tune-check.ts';
import { loadTuneTexts, openSubject, openTuneModels, type TuneSubject } from '../tune/tune-subject.ts';
import { type OverRefusal, type Utility } from './robustness-file.ts';
import { comparedWith, dialogueUtility, exactUtility, heldOutDialogues } from './target-utility.ts';
import { join } from 'node:path';
import { type RunFolder } from '../../runs/run-folder.ts';
import { RESPONSE_TOKENS } from '../../worlds/pico-model.ts';
import { type TuneFile } from '../tune/tune-record.ts';
import { tuneRun } from '../tune/tune-run.ts';
import { FloodgateError } from '../../base/errors.ts';
import { type LocalTransferTarget } from '../transfer/transfer-config.ts';

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

/**
 * Safety tuning of a made world's target, a thousand times smaller than those that the paper's rate is meant for: the
 * smallest rate that mends it (docs/claims.md), and benign answers of a word and its end.
 */
export const MADE_WORLD_TUNING: readonly string[] = [
  'tuning.learningRate=3e-4',
  'tuning.epochs=4',
  `tuning.benign.maxNewTokens=${RESPONSE_TOKENS}`,
];

export interface TuneEachPlan {
  /** Attackers on whose successes a target is tuned, a target each. */
  readonly stages: readonly string[];
  /** At most so many successes of each, so that no target resists better for having seen more. */
  readonly successes: number;
  /** `tuning.key=value` over the run's config. */
  readonly overrides: readonly string[];
  /** Folder of a stage's target below RUN/tuned. */
  nameOf(stage: string): string;
}

/** A target tuned on one attacker's data. */
export interface TunedModel {
  /** The attacker whose successes it was tuned on. */
  readonly stage: string;
  /** Below RUN/tuned; `tuned:NAME` for transfer. */
  readonly name: string;
  /** Absolute: what a further run takes as its `target.model`. */
  readonly modelPath: string;
  readonly file: TuneFile;
}

/** Tunes the run's target on the data of each attacker. One without a success has no target. Goes on where it stopped. */
export async function tuneOnEach(
  folder: RunFolder,
  { stages, successes, overrides, nameOf }: TuneEachPlan,
  io: CampaignIo,
): Promise<TunedModel[]> {
  const tuned: TunedModel[] = [];
  for (const stage of stages) {
    const name = nameOf(stage);
    const settings = [...overrides, `tuning.limit=${successes}`];
    const outcome = await tuneRun({ folder, stage, name, overrides: settings }, io);
    if (outcome.kind === 'nothing') continue;
    const { file } = outcome;
    tuned.push({ stage, name, modelPath: join(folder.path, file.paths.model), file });
  }
  return tuned;
}

/**
 * How further versions of a run's target are asked: as its evaluation asks the target itself, so that replayed attacks
 * and attackers that were trained again are measured alike.
 * @throws FloodgateError `usage` when the target is a script.
 */
export function askedAsEvaluated({ target, evaluation }: Config): Omit<LocalTransferTarget, 'name' | 'model'> {
  if (target.kind !== 'local') {
    throw new FloodgateError('usage', 'the target is a script, which cannot be tuned', {
      hint: 'name a model under target (target.kind: local)',
    });
  }
  const { decode, template, systemPrompt, device } = target;
  return {
    kind: 'local',
    precision: 'fp32',
    template,
    device,
    decode,
    responses: evaluation.responses,
    ...(systemPrompt === undefined ? {} : { systemPrompt }),
  };
}
