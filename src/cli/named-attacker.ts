import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { readRun } from '../report/run-overview.ts';
import { type AttackerFolder, findAttackerFolder } from '../runs/attacker-folder.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { lastTrainedStage } from '../stages/campaign/sample-attacks.ts';

/** The meaning of a name on the command line: the attacker of a run's stage, or one that was exported or imported. */
export type NamedAttacker =
  | { readonly kind: 'run'; readonly folder: RunFolder; readonly stage: string }
  | { readonly kind: 'exported'; readonly folder: AttackerFolder };

/** A run where `name` is one, else undefined. `run:NAME` must be one. */
async function findRun(name: string, runsFolder: string): Promise<RunFolder | undefined> {
  if (name.startsWith('run:')) return openRunFolder(name, runsFolder);
  if (name.startsWith('attacker:')) return undefined;
  const folder = /[/\\]/.test(name) ? name : join(runsFolder, name);
  return existsSync(join(folder, 'config.yaml')) ? openRunFolder(name, runsFolder) : undefined;
}

/**
 * Finds the attacker of a name: a run goes before an imported attacker of its name. Undefined where there is neither.
 * @param stage the stage of a run's attacker; undefined for the last one done.
 * @throws FloodgateError `run` when no stage has left an attacker; `usage` for `run:NAME` or `attacker:NAME` that is
 * not there, and for a stage of what is no run.
 */
export async function findNamedAttacker(
  { command, name, stage }: { readonly command: string; readonly name: string; readonly stage: string | undefined },
  runsFolder: string,
): Promise<NamedAttacker | undefined> {
  const folder = await findRun(name, runsFolder);
  if (folder === undefined) {
    const exported = await findAttackerFolder(name, runsFolder);
    if (stage !== undefined)
      throw new FloodgateError('usage', `${command} ${name}: --stage needs a run, and there is none of this name`);
    return exported === undefined ? undefined : { kind: 'exported', folder: exported };
  }
  const last = await readRun(folder, (_overview, store) => (store === undefined ? undefined : lastTrainedStage(store)));
  const found = stage ?? last;
  if (found !== undefined) return { kind: 'run', folder, stage: found };
  throw new FloodgateError('run', `${command} ${folder.name}: no stage is done, so there is no attacker yet`);
}
