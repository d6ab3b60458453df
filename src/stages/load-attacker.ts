import { access } from 'node:fs/promises';
import { FloodgateError } from '../base/errors.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { latestCheckpointPath } from '../learning/checkpoints/checkpoint-folder.ts';
import { loadParameters } from '../learning/checkpoints/trainer-state.ts';
import type { ParameterVector } from '../models/decoder/parameter-vector.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { type Campaign, checkpointFile } from './campaign/campaign.ts';
import type { AttackerName } from './config/attacker-names.ts';
import { bestCheckpoint } from './gflownet-watch.ts';

/** An attacker as a stage left it. */
export interface StageAttacker {
  readonly attacker: Attacker;
  readonly state: AttackerState;
}

/**
 * The attacker of a stage with the parameters that the stage left; whoever gave `run` closes it.
 *
 * @throws FloodgateError `run` when the stage has left none.
 */
export async function openStageAttacker(
  run: Pick<Campaign, 'folder' | 'attackerOf'>,
  stage: AttackerName,
): Promise<StageAttacker> {
  const attacker = await run.attackerOf(stage);
  return { attacker, state: attacker.stateOf(await loadAttacker(run.folder, attacker, stage)) };
}

/**
 * The parameters that a stage left: its best checkpoint by held-out ASR x unique attacks where that was measured, else
 * the last one.
 *
 * @throws FloodgateError `run` when the stage has left none.
 */
async function loadAttacker(folder: RunFolder, attacker: Attacker, stage: AttackerName): Promise<ParameterVector> {
  const parameters = attacker.createParameters();
  const best = checkpointFile(folder, bestCheckpoint(stage));
  const exists = await access(best).then(
    () => true,
    () => false,
  );
  if (exists) {
    await loadParameters(best, parameters);
    return parameters;
  }
  const path = await latestCheckpointPath({ folder: folder.checkpointsPath, stage });
  if (path === undefined) {
    throw new FloodgateError('run', `load attacker: run ${folder.name} has no checkpoint of stage ${stage}`, {
      hint: `floodgate resume ${folder.name} continues the run`,
    });
  }
  await loadParameters(path, parameters);
  return parameters;
}
