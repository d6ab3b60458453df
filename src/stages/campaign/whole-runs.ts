import { randomUUID } from 'node:crypto';
import { makePrivateFolder } from '../../base/atomic-file.ts';
import { canonicalJson } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { queueAddress } from '../../queue/connection.ts';
import { openJobQueue } from '../../queue/job-queue.ts';
import type { JobQueue } from '../../queue/pending-job.ts';
import { RUNS } from '../../queue/protocol.ts';
import type { QueueConfig } from '../../queue/queue-section.ts';
import { forgetFiles } from '../../queue/run-files.ts';
import { openSigner } from '../../queue/signing.ts';
import { type RunFolder, runStatus } from '../../runs/run-folder.ts';
import { hasBegun, openStore } from '../../runs/store/run-store.ts';
import type { Config } from '../config/config.ts';
import { loadConfigSeeds } from '../config/seeds.ts';
import type { CampaignIo } from '../stage.ts';
import { isWorldSeeds } from './config-load.ts';
import { refuseUnportable } from './portable-config.ts';
import { finishRun, sameRun } from './run-campaign.ts';
import { alone, finishElsewhere, type Spreading, type WantedRun } from './run-elsewhere.ts';
import { awaitWorker, queueIdOf } from './run-workers.ts';

export interface WantedRuns {
  /** In words: `retrain attackers`. */
  readonly label: string;
  /** Of what a run gives: `attackers`. */
  readonly unit: string;
  readonly runs: readonly WantedRun[];
  /** Names the study in the queue, the same at each start. The folder is made when missing. */
  readonly idFolder: string;
  readonly idFile?: string;
  /** Told of each run once it is in its place. One at a time. */
  finished?(run: RunFolder): Promise<unknown>;
  /** Whether a run that failed so is left out, and the others go their way. */
  leavesOut?(error: unknown): boolean;
}

/**
 * Finishes all runs: one after another in this process, or at once on workers where the config of the first has
 * `queue.runs`. A run that was begun here is finished here. Returns them in the order of `runs`, but those left out.
 * @throws FloodgateError `interrupted` on abort, nothing lost; `run` without a worker; otherwise as `finishRun`.
 */
export async function finishRuns(wanted: WantedRuns, io: CampaignIo): Promise<RunFolder[]> {
  const queue = wanted.runs[0]?.config.queue;
  return queue?.runs === true ? finishOnWorkers(wanted, queue, io) : finishHere(wanted, io);
}

function interrupted(label: string, rest: string): FloodgateError {
  return new FloodgateError('interrupted', `${label}: interrupted; ${rest}`);
}

/** A run that is done already: none of its models is opened. @throws FloodgateError `run` for one of other settings. */
export async function doneRun({
  config,
  runsFolder,
  name,
}: Pick<WantedRun, 'config' | 'runsFolder' | 'name'>): Promise<RunFolder | undefined> {
  const folder = await sameRun(config, runsFolder, name);
  if (folder === undefined || !hasBegun(folder.databasePath)) return undefined;
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return (await runStatus(folder, store)) === 'done' ? folder : undefined;
  } finally {
    store.close();
  }
}

/** Undefined for a run that failed and is left out. */
async function unlessLeftOut(
  { leavesOut }: Pick<WantedRuns, 'leavesOut'>,
  finish: () => Promise<RunFolder>,
): Promise<RunFolder | undefined> {
  try {
    return await finish();
  } catch (error) {
    if (leavesOut?.(error) === true) return undefined;
    throw error;
  }
}

async function finishOne({ config, runsFolder, name }: WantedRun, io: CampaignIo): Promise<RunFolder> {
  await makePrivateFolder(runsFolder);
  return finishRun(config, runsFolder, name, io);
}

async function finishHere(wanted: WantedRuns, io: CampaignIo): Promise<RunFolder[]> {
  const { label, unit, runs, finished } = wanted;
  const bar = io.progress.start(label, runs.length, unit);
  const done: RunFolder[] = [];
  try {
    for (const [i, run] of runs.entries()) {
      if (io.signal.aborted) throw interrupted(label, 'finished runs are stored');
      bar.update(i, run.note);
      const folder = await unlessLeftOut(wanted, async () => (await doneRun(run)) ?? (await finishOne(run, io)));
      if (folder === undefined) continue;
      done.push(folder);
      await finished?.(folder);
    }
    bar.update(runs.length);
    return done;
  } finally {
    bar.finish();
  }
}

/** @throws FloodgateError `config` for a file of seeds that no run could read. */
async function checkSeeds(runs: readonly WantedRun[]): Promise<void> {
  const own = runs.flatMap(({ config }) => (isWorldSeeds(config) ? [] : [config]));
  const keyOf = ({ seeds, attacker }: Config): string => canonicalJson({ seeds, cells: attacker.cells ?? [] });
  for (const config of new Map(own.map((each) => [keyOf(each), each])).values()) await loadConfigSeeds(config);
}

function openRuns(queue: QueueConfig, io: CampaignIo): Promise<JobQueue> {
  const address = queueAddress(queue);
  return openJobQueue(address, openSigner(address.isLoopback), (line) => io.progress.say?.(line), RUNS);
}

/**
 * Checks before the work of a study that workers can do its runs, where the config says that they shall.
 * @throws FloodgateError `config` for a key that keeps them here; `run` without Redis or a worker; `interrupted`.
 */
export async function requireRunWorkers(config: Config, io: CampaignIo): Promise<void> {
  const { queue } = config;
  if (queue?.runs !== true) return;
  refuseUnportable(alone(config));
  const jobs = await openRuns(queue, io);
  try {
    if ((await jobs.workers()) === 0) await awaitWorker(jobs, queue, io, io.signal);
    if (io.signal.aborted) throw interrupted('runs on workers', 'nothing was started');
  } finally {
    await jobs.close();
  }
}

async function finishOnWorkers(wanted: WantedRuns, queue: QueueConfig, io: CampaignIo): Promise<RunFolder[]> {
  for (const { config } of wanted.runs) refuseUnportable(alone(config));
  await checkSeeds(wanted.runs);
  await makePrivateFolder(wanted.idFolder);
  const known = await queueIdOf(wanted.idFolder, wanted.idFile);
  const study = io.asksAgain === true ? `${known} ${randomUUID()}` : known;
  const jobs = await openRuns(queue, io);
  try {
    return await spread(wanted, queue, { jobs, blobs: jobs.blobs(study), study, io, given: [], waiting: new Map() });
  } finally {
    await jobs.close();
  }
}

/** How often it is looked whether workers are still there. */
const WATCH_MS = 10_000;

/** Says once when the last worker is gone: the runs then wait for another. @returns ends the watch. */
function watchWorkers(jobs: JobQueue, { url }: QueueConfig, io: CampaignIo): () => void {
  let isTold = false;
  const look = async (): Promise<void> => {
    const workers = await jobs.workers().catch(() => undefined); // no connection: that is told already
    if (workers === 0 && !isTold) io.progress.say?.(`no worker takes runs of ${url} any more; they wait for one`);
    isTold = workers === 0 || (workers === undefined && isTold);
  };
  const timer = setInterval(() => void look(), WATCH_MS);
  return () => clearInterval(timer);
}

async function spread(wanted: WantedRuns, queue: QueueConfig, parts: Omit<Spreading, 'signal'>): Promise<RunFolder[]> {
  const { label, unit, runs, finished } = wanted;
  const { jobs, io } = parts;
  const failed = new AbortController();
  const signal = AbortSignal.any([io.signal, failed.signal]);
  const bar = io.progress.start(label, runs.length, unit);
  let endWatch = (): void => undefined;
  let count = 0;
  let turn: Promise<unknown> = Promise.resolve();
  let here: Promise<unknown> = Promise.resolve();
  const finish = async (run: WantedRun): Promise<RunFolder> => {
    const { config, runsFolder, name, note } = run;
    const done = await doneRun(run);
    if (done !== undefined) return done;
    if ((await sameRun(config, runsFolder, name)) === undefined)
      return finishElsewhere(run, { ...parts, signal }, (line) => bar.update(count, `${note}: ${line}`));
    const finished = here.then(() => finishOne(run, { ...io, signal })); // one of them at a time
    here = finished.catch(() => undefined);
    return finished;
  };
  const one = async (run: WantedRun): Promise<RunFolder | undefined> => {
    const folder = await unlessLeftOut(wanted, () => finish(run));
    turn = turn.then(async () => {
      if (folder !== undefined) await finished?.(folder);
      bar.update(++count, run.note);
    });
    await turn;
    return folder;
  };
  try {
    const all = runs.map(one);
    for (const each of all) each.catch((error: unknown) => failed.abort(error));
    const done = Promise.all(all);
    await Promise.race([done, awaitWorker(jobs, queue, io, signal)]);
    endWatch = watchWorkers(jobs, queue, io);
    const folders = await done;
    await forgetFiles(parts.blobs, parts.given);
    return folders.flatMap((folder) => folder ?? []);
  } catch (error) {
    failed.abort(error);
    if (io.signal.aborted)
      throw interrupted(label, 'finished runs are stored, and workers finish those that they have begun');
    throw error;
  } finally {
    endWatch();
    bar.finish();
    failed.abort();
  }
}
