import { FloodgateError } from '../../base/errors.ts';
import type { Attacker } from '../../learning/attacker.ts';
import { loadLatestCheckpoint } from '../../learning/checkpoints/checkpoint-folder.ts';
import type { ParameterVector } from '../../models/decoder/parameter-vector.ts';
import type { RunFolder } from '../../runs/run-folder.ts';

/** The warm-up stage. */
export const SFT = 'sft';

/**
 * The frozen reference: the attacker at the end of SFT.
 *
 * @throws FloodgateError `run` when the warm-up has left nothing.
 */
export async function loadReference(run: {
  readonly folder: RunFolder;
  readonly attacker: Attacker;
}): Promise<ParameterVector> {
  const { folder, attacker } = run;
  const parameters = attacker.createParameters();
  const found = await loadLatestCheckpoint({ folder: folder.checkpointsPath, stage: SFT }, parameters);
  if (found === undefined) {
    throw new FloodgateError('run', `load reference: run ${folder.name} has no checkpoint of stage ${SFT}`, {
      hint: `floodgate resume ${folder.name} continues the run`,
    });
  }
  return parameters;
}
