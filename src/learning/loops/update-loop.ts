import { FloodgateError } from '../../base/errors.ts';
import type { Progress, ProgressSink } from '../../base/progress.ts';
import type { AdamWState } from '../../engine/optimizer/adamw.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import { type CheckpointFolder, saveCheckpoint } from '../checkpoints/checkpoint-folder.ts';

/** How a loop is watched, saved and stopped. */
export interface LoopControl {
  readonly checkpoints: CheckpointFolder;
  readonly checkpointEveryUpdates: number;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
}

/** A training loop's control, starting point and listener, beside its parts and options. */
export interface TrainingRun<Update> {
  readonly control: LoopControl;
  /** Updates already done. */
  readonly from: number;
  readonly optimizer: AdamWState;
  /** JSON-safe state of the caller that belongs in each checkpoint. */
  extra?(): unknown;
  /** Called after each update; true ends the stage. */
  onUpdate(update: Update): Promise<boolean>;
}

export interface LoopState {
  readonly parameters: ParameterVector;
  readonly optimizer: AdamWState;
  /** The loop's own state beside parameters and optimizer, JSON-safe. */
  extra(): unknown;
}

/** Whether the loop continues after an update, and the live line beside its bar. */
export interface UpdateOutcome {
  readonly note: string;
  readonly stop?: boolean;
}

/**
 * Runs updates `from`..`to`-1. Writes a checkpoint after every `checkpointEveryUpdates` updates, at the end, and on
 * interruption. A kill loses at most the updates since the last checkpoint, and Ctrl-C loses none.
 *
 * @returns the number of updates done.
 * @throws FloodgateError `interrupted` after saving, when the signal was aborted.
 */
export async function runUpdates(
  control: LoopControl,
  state: LoopState,
  range: { readonly from: number; readonly to: number },
  step: (update: number) => Promise<UpdateOutcome>,
): Promise<number> {
  const { stage } = control.checkpoints;
  const save = (update: number): Promise<void> =>
    saveCheckpoint(control.checkpoints, state.parameters, { update, optimizer: state.optimizer, extra: state.extra() });
  const bar: Progress = control.progress.start(stage, range.to, 'updates');
  bar.update(range.from);
  let update = range.from;
  try {
    while (update < range.to) {
      if (control.signal?.aborted) {
        await save(update);
        throw new FloodgateError(
          'interrupted',
          `${stage}: interrupted after ${update} of ${range.to} updates, nothing is lost`,
          {
            hint: 'floodgate resume continues the run',
          },
        );
      }
      const outcome = await step(update);
      update++;
      bar.update(update, outcome.note);
      if (outcome.stop === true) break;
      if (update % control.checkpointEveryUpdates === 0 && update < range.to) await save(update);
    }
  } finally {
    bar.finish();
  }
  await save(update);
  return update;
}
