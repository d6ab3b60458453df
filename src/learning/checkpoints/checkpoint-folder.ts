import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import { loadTrainerState, saveTrainerState, type TrainerState } from './trainer-state.ts';

/** Checkpoints kept for each stage: when the newest is damaged, the one before it is used. */
const KEPT = 2;

/** The checkpoints of one stage: `STAGE-UPDATES.safetensors`. */
export interface CheckpointFolder {
  readonly folder: string;
  readonly stage: string;
}

export function checkpointPath({ folder, stage }: CheckpointFolder, update: number): string {
  return path.join(folder, `${stage}-${String(update).padStart(7, '0')}.safetensors`);
}

/** Updates of the stage's checkpoints, newest first. */
async function savedUpdates({ folder, stage }: CheckpointFolder): Promise<number[]> {
  const names = existsSync(folder) ? await readdir(folder) : [];
  const pattern = new RegExp(`^${stage}-(\\d{7})\\.safetensors$`);
  return names
    .flatMap((name) => {
      const match = pattern.exec(name);
      return match === null ? [] : [Number(match[1])];
    })
    .sort((a, b) => b - a);
}

/** Writes a checkpoint and removes those older than the kept ones. */
export async function saveCheckpoint(
  place: CheckpointFolder,
  vector: ParameterVector,
  state: Omit<TrainerState, 'parameters'>,
): Promise<void> {
  await mkdir(place.folder, { recursive: true });
  await saveTrainerState(checkpointPath(place, state.update), vector, state);
  for (const old of (await savedUpdates(place)).slice(KEPT)) await rm(checkpointPath(place, old), { force: true });
}

export interface LatestCheckpoint {
  readonly state: TrainerState;
  /** Damaged checkpoints that were skipped, newest first, each with the reason. */
  readonly skipped: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Loads the newest readable checkpoint, or returns undefined when the stage has none.
 *
 * @throws FloodgateError `run` when there are checkpoints but none can be read.
 */
export async function loadLatestCheckpoint(
  place: CheckpointFolder,
  vector: ParameterVector,
): Promise<LatestCheckpoint | undefined> {
  const updates = await savedUpdates(place);
  const skipped: { path: string; reason: string }[] = [];
  for (const update of updates) {
    const file = checkpointPath(place, update);
    try {
      return { state: await loadTrainerState(file, vector), skipped };
    } catch (error) {
      if (!(error instanceof FloodgateError) && !(error instanceof SyntaxError)) throw error;
      skipped.push({ path: file, reason: error.message });
    }
  }
  if (updates.length === 0) return undefined;
  throw new FloodgateError(
    'run',
    `resume ${place.stage}: none of its ${updates.length} checkpoints can be read: ${skipped[0]?.reason}`,
    {
      hint: 'delete the damaged files under checkpoints/ to start the stage again',
    },
  );
}

/** Path of the newest checkpoint, or undefined when the stage has none. */
export async function latestCheckpointPath(place: CheckpointFolder): Promise<string | undefined> {
  const [newest] = await savedUpdates(place);
  return newest === undefined ? undefined : checkpointPath(place, newest);
}
