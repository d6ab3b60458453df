import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { canonicalJson } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import type { Blobs } from '../../queue/blobs.ts';
import type { JobQueue } from '../../queue/pending-job.ts';
import { PROTOCOL, type RunJob } from '../../queue/protocol.ts';
import { fetchFiles, forgetFiles, isRunFile, putFile } from '../../queue/run-files.ts';
import type { CarriedFile } from '../../queue/run-job.ts';
import { readManifest, writeManifest } from '../../runs/manifest.ts';
import { createRunFolder, type RunFolder, runStatus } from '../../runs/run-folder.ts';
import { openStore } from '../../runs/store/run-store.ts';
import { mapTargetModels } from '../../targets/registry.ts';
import type { Config } from '../config/config.ts';
import type { CampaignIo } from '../stage.ts';
import { configSha256, isWorldSeeds, movableConfig } from './config-load.ts';

/** A run that a study needs, as `finishRun` takes it. */
export interface WantedRun {
  readonly config: Config;
  readonly runsFolder: string;
  readonly name: string;
  /** Folder of the model behind the target, where the study itself has made it: it goes with the job. */
  readonly modelPath?: string;
  /** In words, for the progress. */
  readonly note: string;
}

/** The open parts while workers do runs. */
export interface Spreading {
  readonly jobs: JobQueue;
  readonly blobs: Blobs;
  /** Owner of the blobs and of the jobs. */
  readonly study: string;
  /** Files that went with jobs. Several jobs may share one. */
  readonly given: CarriedFile[];
  /** How many places wait for each job: runs of equal settings are one job. */
  readonly waiting: Map<string, number>;
  readonly io: CampaignIo;
  /** Aborted with the study, and by the first run that fails. */
  readonly signal: AbortSignal;
}

/** The config without the queue: whoever does the run asks target and judges itself. */
export function alone({ queue: _queue, ...config }: Config): Config {
  return config as Config;
}

/** The files of a model's folder. */
async function putModel(blobs: Blobs, path: string): Promise<CarriedFile[]> {
  const entries = await readdir(path, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map(({ name }) => name);
  const files: CarriedFile[] = [];
  for (const name of names.sort()) files.push(await putFile(blobs, join(path, name), name));
  return files;
}

/** The seeds' file for whoever reads it: the extension may say the format. */
const seedsName = ({ seeds }: Config): string =>
  `seeds${/^\.[A-Za-z0-9]{1,10}$/.test(extname(seeds.path)) ? extname(seeds.path) : ''}`;

/** The files that a run needs. */
async function putFiles(
  { config, modelPath }: WantedRun,
  { blobs }: Spreading,
): Promise<Pick<RunJob, 'seeds' | 'model'>> {
  return {
    seeds: isWorldSeeds(config) ? [] : [await putFile(blobs, config.seeds.path, seedsName(config))],
    model: modelPath === undefined ? [] : await putModel(blobs, modelPath),
  };
}

/** The job of a run. Nothing in it depends on where the run's folder is. */
async function jobOf(wanted: WantedRun, parts: Spreading): Promise<RunJob> {
  const { config, modelPath } = wanted;
  const { study, io } = parts;
  const { name: _name, ...rest } = alone(config);
  const { seeds, target, budget } = config;
  return {
    kind: 'run',
    version: PROTOCOL,
    run: study,
    config: {
      ...rest,
      ...(isWorldSeeds(config) ? {} : { seeds: { ...seeds, path: seedsName(config) } }),
      ...(modelPath === undefined ? {} : { target: mapTargetModels(target, () => './model') }),
      ...(io.budget === undefined ? {} : { budget: { ...budget, ...io.budget } }),
    },
    ...(await putFiles(wanted, parts)),
  };
}

/** A run whose files Redis has dropped, or that is none, is asked for so often. */
const MOST_TRIES = 2;

/**
 * Has a worker do a run, and puts it into its place. @throws FloodgateError of the worker where it cannot do it; `run` for
 * a run that is none; the signal's reason on abort.
 */
export async function finishElsewhere(
  wanted: WantedRun,
  parts: Spreading,
  heard: (line: string) => void,
): Promise<RunFolder> {
  const { jobs, blobs, signal, waiting } = parts;
  const job = await jobOf(wanted, parts);
  append(parts.given, [...job.seeds, ...job.model]);
  const key = canonicalJson(job);
  const count = (change: number): number => {
    waiting.set(key, (waiting.get(key) ?? 0) + change);
    return waiting.get(key) as number;
  };
  const prepare = () => putFiles(wanted, parts); // Redis may have lost them, too
  count(1);
  for (let tries = 1; ; tries++) {
    const { outcome, worker, release } = await jobs.submit(job, signal, { heard, prepare });
    try {
      if (outcome.kind !== 'ran')
        throw new FloodgateError('run', `queue: worker ${worker} answered another job than a whole run`);
      const folder = await putInPlace(wanted, outcome.files, blobs);
      if (count(-1) > 0) return folder;
      release();
      await forgetFiles(blobs, outcome.files);
      return folder;
    } catch (error) {
      if (!(error instanceof FloodgateError && error.code === 'run')) throw error;
      release();
      if (tries === MOST_TRIES) throw error;
    }
  }
}

function putInPlace(wanted: WantedRun, files: readonly CarriedFile[], blobs: Blobs): Promise<RunFolder> {
  const { config, runsFolder, name } = wanted;
  return createRunFolder({
    runsFolder,
    name,
    ifTaken: 'refuse',
    configAt: (path) => movableConfig(config, path),
    fill: (partial) => unpack(files, partial, wanted, blobs),
  });
}

/**
 * Writes the files of a run that a worker has done, as the run itself would have left them here.
 * @throws FloodgateError `run` where they are those of no finished run.
 */
async function unpack(files: readonly CarriedFile[], folder: RunFolder, wanted: WantedRun, blobs: Blobs) {
  const { config, name, modelPath } = wanted;
  await fetchFiles(blobs, files, folder.path, isRunFile);
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const status = await runStatus(folder, store);
    if (status !== 'done') throw new FloodgateError('run', `queue: a worker handed back a run that is ${status}`);
  } finally {
    store.close();
  }
  const manifest = await readManifest(folder.manifestPath);
  const models = manifest.models.map((model) =>
    modelPath !== undefined && model.role === 'target' ? { ...model, spec: modelPath } : model,
  );
  await writeManifest(folder.manifestPath, { ...manifest, run: name, configSha256: configSha256(config), models });
}
