import { cp } from 'node:fs/promises';
import path from 'node:path';
import { writeRunReport } from '../../src/report/campaigns.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { type CliOutcome, cli } from '../cli/cli-runner.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';

const SHORT = ['sft.updates=3', 'gflownet.updates=5', 'smoothing.updates=3', 'evaluation.attacks=8', 'watch.attacks=4'];

/** The tiny campaign with one finished run, `first`, and the command line in its folder of runs. */
export interface AttackerRuns {
  readonly tiny: TinyCampaign;
  readonly first: RunFolder;
  start(name: string, overrides?: readonly string[]): Promise<RunFolder>;
  /** A path in the campaign's own folder. */
  at(...parts: readonly string[]): string;
  /** `floodgate attacker ...` */
  attacker(...args: readonly string[]): Promise<CliOutcome>;
  remove(): Promise<void>;
}

export async function createAttackerRuns(): Promise<AttackerRuns> {
  const tiny = await createTinyCampaign();
  const { runsFolder } = tiny;
  const start = async (name: string, overrides: readonly string[] = []): Promise<RunFolder> => {
    const config = tiny.config([...SHORT, ...overrides]);
    const folder = await startRun({ config, runsFolder, name, ifTaken: 'refuse' }, tiny.io());
    await writeRunReport(folder, tiny.io());
    return folder;
  };
  const at = (...parts: readonly string[]): string => path.join(tiny.folder, ...parts);
  const cacheDir = tiny.io().cacheDir as string;
  return {
    tiny,
    first: await start('first'),
    start,
    at,
    attacker: (...args) => cli(['--cache-dir', cacheDir, 'attacker', ...args, '--runs-dir', runsFolder]),
    remove: () => tiny.remove(),
  };
}

/** A copy of an exported folder, to be damaged. */
export async function copyFolder(from: string, to: string): Promise<string> {
  await cp(from, to, { recursive: true });
  return to;
}
