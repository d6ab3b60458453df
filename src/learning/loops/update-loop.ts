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
  /** True when the updates so far have ended the stage: no further one is made. */
  readonly isOver?: boolean;
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
  /** The loop's own state beside parameters and optimizer, JSON-safe; a promise is waited for. */
  extra(): unknown;
}

/** Whether the loop continues after an update, and the live line beside its bar. */
export interface UpdateOutcome {
  readonly note: string;
  readonly stop?: boolean;
}

/**
 * Runs updates `from`..`to`-1. Writes a checkpoint after every `checkpointEveryUpdates` updates, at the end, and on
 * interruption. A kill loses at most the updates since the last checkpoint. Ctrl-C loses none but the one in progress,
 * and that one only when it is interrupted before it changes the parameters.
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
  const save = async (update: number): Promise<void> => {
    const extra = await state.extra();
    await saveCheckpoint(control.checkpoints, state.parameters, { update, optimizer: state.optimizer, extra });
  };
  const bar: Progress = control.progress.start(stage, range.to, 'updates');
  bar.update(range.from);
  let update = range.from;
  let isEnded = control.isOver === true;
  try {
    while (update < range.to && !isEnded) {
      if (control.signal?.aborted) {
        await save(update);
        throw interrupted(`${stage}: interrupted after ${update} of ${range.to} updates, nothing is lost`);
      }
      const steps = state.optimizer.step;
      let outcome: UpdateOutcome;
      try {
        outcome = await step(update);
      } catch (error) {
        const isStopped = error instanceof FloodgateError && error.code === 'interrupted';
        if (!isStopped || state.optimizer.step !== steps) throw error;
        await save(update);
        throw interrupted(
          `${stage}: interrupted after ${update} of ${range.to} updates; the one in progress is made again`,
        );
      }
      update++;
      bar.update(update, outcome.note);
      isEnded = outcome.stop === true;
      if (isEnded) break;
      if (update % control.checkpointEveryUpdates === 0 && update < range.to) await save(update);
    }
  } finally {
    bar.finish();
  }
  await save(update);
  // The last update may have left work to a resume, e.g. its held-out evaluation.
  if (control.signal?.aborted && !isEnded) throw interrupted(`${stage}: interrupted after its last update`);
  return update;
}

function interrupted(message: string): FloodgateError {
  return new FloodgateError('interrupted', message, { hint: 'floodgate resume continues the run' });
}
