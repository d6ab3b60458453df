import { join } from 'node:path';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { RESPONSE_TOKENS } from '../../worlds/pico-model.ts';
import type { TuneFile } from '../tune/tune-folder.ts';
import { tuneRun } from '../tune/tune-run.ts';

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
