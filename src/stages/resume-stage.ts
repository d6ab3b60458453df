import { type AdamWState, createAdamWState } from '../engine/optimizer/adamw.ts';
import { loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import type { ParameterVector } from '../models/decoder/parameter-vector.ts';
import type { Campaign } from './campaign/campaign.ts';

export interface StageStart {
  /** Updates already done. */
  readonly update: number;
  readonly optimizer: AdamWState;
  /** The loop's own state from the checkpoint; undefined at a fresh start. */
  readonly extra: unknown;
}

/**
 * Where a stage goes on: its newest readable checkpoint loaded into `parameters`, and the database cut back to it, so
 * that what is made again stands there once. A damaged checkpoint is passed over and recorded.
 */
export async function resumeStage(
  { folder, store }: Campaign,
  stage: string,
  parameters: ParameterVector,
): Promise<StageStart> {
  const found = await loadLatestCheckpoint({ folder: folder.checkpointsPath, stage }, parameters);
  store.truncateAfter(stage, (found?.state.update ?? 0) - 1);
  for (const { path, reason } of found?.skipped ?? []) {
    store.recordEvent(
      { level: 'warning', code: 'checkpoint-damaged', message: `${path}: ${reason}; went back to the one before` },
      stage,
    );
  }
  if (found === undefined) return { update: 0, optimizer: createAdamWState(parameters.data.length), extra: undefined };
  return { update: found.state.update, optimizer: found.state.optimizer, extra: found.state.extra };
}
