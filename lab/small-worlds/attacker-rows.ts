import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../src/runs/store/stage-name.ts';
import { finishRun, sameRun } from '../../src/stages/campaign/run-campaign.ts';
import { isRefusal } from '../../src/stages/campaign/run-world.ts';
import { doneRun } from '../../src/stages/campaign/whole-runs.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import type { AttackerName } from '../attackers.ts';

/** The figures of one attacker in a synthetic world, by the names of the run's metrics. */
export const ROW_FIGURES = ['modeRecall', 'asr', 'shareError', 'uniqueAttacks', 'attackerTargetCalls'] as const;
export type RowFigure = (typeof ROW_FIGURES)[number];

/** null: not measured, never zero. */
export type AttackerRow = Readonly<Record<RowFigure, number | null>>;
/** One run's figures by attacker; one that found nothing has none. */
export type AttackerRows = Readonly<Partial<Record<AttackerName, AttackerRow>>>;

/** The figures of those attackers that the run has measured. */
export async function readAttackerRows(run: RunFolder, attackers: readonly AttackerName[]): Promise<AttackerRows> {
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    return Object.fromEntries(
      attackers.flatMap((attacker) => {
        const metrics = store.metrics(evaluationStage(attacker));
        if (metrics.length === 0) return [];
        const figure = (wanted: RowFigure): number | null =>
          metrics.findLast((row) => row.name === wanted)?.value ?? null;
        return [[attacker, Object.fromEntries(ROW_FIGURES.map((wanted) => [wanted, figure(wanted)]))]];
      }),
    ) as AttackerRows;
  } finally {
    store.close();
  }
}

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
    const run = (await doneRun({ config, runsFolder: folder, name })) ?? (await finishRun(config, folder, name, io));
    return await readAttackerRows(run, attackers);
  } catch (error) {
    if (isRefusal(error)) return {};
    throw error;
  }
}

/**
 * Returns the figures of a run, from their file where it was measured before: a stopped series resumes.
 *
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
