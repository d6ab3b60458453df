import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CampaignIo } from './campaign-io.ts';
import type { Config } from './config-schema.ts';
import { readManifest } from './manifest.ts';
import { resumeRun, startRun } from './run-campaign.ts';
import { openRunFolder, type RunFolder } from './run-folder.ts';

/** Runs what is left of a run, a new one from its config. */
export async function finishRun(config: Config, runsFolder: string, name: string, io: CampaignIo): Promise<RunFolder> {
  if (!existsSync(join(runsFolder, name))) return startRun({ config, runsFolder, name, ifTaken: 'refuse' }, io);
  return resumeRun(await openRunFolder(name, runsFolder), io);
}

/** The judge whose figures count: one that gave no reward where there is one. */
export async function countingJudge({ manifestPath }: RunFolder): Promise<string> {
  const { judges } = await readManifest(manifestPath);
  return judges.evaluation.find((name) => name !== judges.training) ?? judges.training;
}
