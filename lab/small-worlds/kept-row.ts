import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import type { CampaignIo } from '../../src/stages/campaign/campaign-io.ts';
import { finishRun, sameRun } from '../../src/stages/campaign/finish-run.ts';
import { isRefusal } from '../../src/stages/campaign/run-world.ts';
import type { AttackerName } from '../../src/stages/config/attacker-names.ts';
import type { Config } from '../../src/stages/config/config-schema.ts';
import { type AttackerRows, readAttackerRows } from './attacker-rows.ts';

export interface KeptRun {
  /** Of the run, and of the file beside it that holds its figures. */
  readonly name: string;
  readonly config: Config;
  readonly attackers: readonly AttackerName[];
  /** Folder of many such runs. */
  readonly folder: string;
}

/** A config that changes the world itself may get one that is refused: it has no figures. */
async function measure({ name, config, attackers, folder }: KeptRun, io: CampaignIo): Promise<AttackerRows> {
  try {
    return await readAttackerRows(await finishRun(config, folder, name, io), attackers);
  } catch (error) {
    if (isRefusal(error)) return {};
    throw error;
  }
}

/**
 * The figures of a run, from its file where it was measured before, so that a series that was stopped goes on.
 * @throws FloodgateError as the run does; `run` when it was begun with other settings; `interrupted` on abort, nothing lost.
 */
export async function keptRow(run: KeptRun, io: CampaignIo): Promise<AttackerRows> {
  const file = join(run.folder, `${run.name}.json`);
  if (!existsSync(file)) {
    if (io.signal.aborted) throw new FloodgateError('interrupted', `interrupted at ${run.name}`);
    const rows = await measure(run, io);
    await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(rows)}\n`));
  } else await sameRun(run.config, run.folder, run.name);
  return JSON.parse(await readFile(file, 'utf8')) as AttackerRows;
}
