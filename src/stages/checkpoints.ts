import { access } from 'node:fs/promises';
import path from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { type AdamWState, createAdamWState } from '../engine/optimizer/adamw.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { latestCheckpointPath, loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { loadParameters } from '../learning/checkpoints/trainer-state.ts';
import type { LoopControl } from '../learning/loops/update-loop.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { Campaign } from './stage.ts';

/** The warm-up stage. Its result is the frozen reference. */
export const SFT = 'sft';

/** Path of a file among the run's checkpoints. */
export function checkpointFile(folder: RunFolder, name: string): string {
  return path.join(folder.checkpointsPath, name);
}

/** A stage's policy with the best held-out ASR x unique attacks; absent when no held-out evaluation is made. */
export function bestCheckpoint(stage: string): string {
  return `${stage}-best.safetensors`;
}

/** How the loops of a stage are watched, saved and stopped. */
export function loopControl({ folder, io }: Campaign, stage: string, checkpointEveryUpdates: number): LoopControl {
  return {
    checkpoints: { folder: folder.checkpointsPath, stage },
    checkpointEveryUpdates,
    progress: io.progress,
    signal: io.signal,
  };
}

/**
 * The frozen reference: the attacker at the end of SFT.
 *
 * @throws FloodgateError `run` when the warm-up has left no checkpoint.
 */
export async function loadReference({
  folder,
  attacker,
}: {
  readonly folder: RunFolder;
  readonly attacker: Attacker;
}): Promise<ParameterVector> {
  const parameters = attacker.createParameters();
  const found = await loadLatestCheckpoint({ folder: folder.checkpointsPath, stage: SFT }, parameters);
  if (found === undefined) throw withoutCheckpoint('load reference', folder, SFT);
  return parameters;
}

function withoutCheckpoint(operation: string, { name }: RunFolder, stage: string): FloodgateError {
  return new FloodgateError('run', `${operation}: run ${name} has no checkpoint of stage ${stage}`, {
    hint: `floodgate resume ${name} continues the run`,
  });
}

/** An attacker with the parameters that a stage left. */
export interface StageAttacker {
  readonly attacker: Attacker;
  readonly state: AttackerState;
}

/**
 * The attacker of a stage with the parameters that the stage left; the caller of `run` closes it.
 *
 * @throws FloodgateError `run` when the stage has left no checkpoint.
 */
export async function openStageAttacker(
  run: Pick<Campaign, 'folder' | 'attackerOf'>,
  stage: string,
): Promise<StageAttacker> {
  const attacker = await run.attackerOf(stage);
  const parameters = attacker.createParameters();
  await loadParameters(await stageCheckpoint(run.folder, stage), parameters);
  return { attacker, state: attacker.stateOf(parameters) };
}

/**
 * Path of the parameters that a stage left: the best by held-out ASR x unique attacks where that was measured, else the
 * last.
 *
 * @throws FloodgateError `run` when the stage has left no checkpoint.
 */
export async function stageCheckpoint(folder: RunFolder, stage: string): Promise<string> {
  const best = checkpointFile(folder, bestCheckpoint(stage));
  const exists = await access(best).then(
    () => true,
    () => false,
  );
  if (exists) return best;
  const latest = await latestCheckpointPath({ folder: folder.checkpointsPath, stage });
  if (latest === undefined) throw withoutCheckpoint('load attacker', folder, stage);
  return latest;
}

export interface StageStart {
  /** Updates already done. */
  readonly update: number;
  readonly optimizer: AdamWState;
  /** The loop's own state from the checkpoint; undefined at a fresh start. */
  readonly extra: unknown;
}

/**
 * Resumes a stage: loads its newest readable checkpoint into `parameters` and cuts the database back to it. Repeated
 * work is then stored once. A damaged checkpoint is skipped and recorded.
 */
export async function resumeStage(
  { folder, store }: Campaign,
  stage: string,
  parameters: ParameterVector,
): Promise<StageStart> {
  const found = await loadLatestCheckpoint({ folder: folder.checkpointsPath, stage }, parameters);
  store.truncateAfter(stage, (found?.state.update ?? 0) - 1);
  for (const { path: file, reason } of found?.skipped ?? []) {
    const message = `${file}: ${reason}; went back to the one before`;
    store.recordEvent({ level: 'warning', code: 'checkpoint-damaged', message }, stage);
  }
  if (found === undefined) return { update: 0, optimizer: createAdamWState(parameters.data.length), extra: undefined };
  return { update: found.state.update, optimizer: found.state.optimizer, extra: found.state.extra };
}
