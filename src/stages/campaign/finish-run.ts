import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { readManifest } from '../../runs/manifest.ts';
import { loadRunConfig, openRunFolder, type RunFolder } from '../../runs/run-folder.ts';
import { askedSha256 } from '../config/asked-config.ts';
import type { Config } from '../config/config-schema.ts';
import type { CampaignIo } from './campaign-io.ts';
import { resumeRun, startRun } from './run-campaign.ts';

/**
 * The run's folder if there is one, begun with this very config and the same seeds, wherever their file lies.
 * @throws FloodgateError `run` when it was begun with another: its figures would pass for those of this one.
 */
export async function sameRun(config: Config, runsFolder: string, name: string): Promise<RunFolder | undefined> {
  if (!existsSync(join(runsFolder, name))) return undefined;
  const folder = await openRunFolder(name, runsFolder);
  const { seedsSha256 } = existsSync(folder.manifestPath) ? await readManifest(folder.manifestPath) : {};
  if ((await askedSha256(await loadRunConfig(folder), seedsSha256)) === (await askedSha256(config))) return folder;
  throw new FloodgateError('run', `run ${name}: it was begun with other settings, got ${folder.path}`, {
    hint: 'choose another --runs-dir, or remove that folder and what was measured of it',
  });
}

/** Runs what is left of a run, a new one from its config. @throws FloodgateError `run` when it was begun with another. */
export async function finishRun(config: Config, runsFolder: string, name: string, io: CampaignIo): Promise<RunFolder> {
  const folder = await sameRun(config, runsFolder, name);
  if (folder === undefined) return startRun({ config, runsFolder, name, ifTaken: 'refuse' }, io);
  return resumeRun(folder, io);
}

/** The judge whose figures count: one that gave no reward where there is one. */
export async function countingJudge({ manifestPath }: RunFolder): Promise<string> {
  const { judges } = await readManifest(manifestPath);
  return judges.evaluation.find((name) => name !== judges.training) ?? judges.training;
}
