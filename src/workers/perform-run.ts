import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { makePrivateFolder, writeFileAtomically } from '../base/atomic-file.ts';
import { monotonicMs, nowMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { lockHolder } from '../base/lock.ts';
import { programFile } from '../base/package-root.ts';
import { yaml } from '../base/yaml.ts';
import { settleSourceOptions } from '../models/sources/source-environment.ts';
import type { Blobs } from '../queue/blobs.ts';
import type { Outcome, RunJob } from '../queue/protocol.ts';
import { fetchFiles, isRunFile, putFile } from '../queue/run-files.ts';
import type { CarriedFile } from '../queue/run-job.ts';
import { isWorldSeeds, parseConfig } from '../stages/campaign/config-load.ts';
import { refuseUnportable } from '../stages/campaign/portable-config.ts';
import type { Config, Memory } from '../stages/config/config.ts';
import { mapTargetModels } from '../targets/registry.ts';
import { errorOutcome, type WorkerCounts } from './perform-job.ts';
import { checkPermissions, type Permissions } from './permissions.ts';
import type { RunEnd, RunMessage, RunTask } from './run-task.ts';

export interface RunOptions {
  /** Of the job. */
  readonly id: string;
  readonly blobs: Blobs;
  readonly counts: WorkerCounts;
  readonly signal: AbortSignal;
  readonly permissions?: Permissions;
  readonly variables?: readonly string[];
  readonly threads?: number;
  readonly memory?: Memory;
  readonly cacheDir?: string;
  progressed(line: string): void;
}

/** The folder of one job: what came with it, and the run. */
interface Place {
  readonly folder: string;
  readonly configPath: string;
  readonly runsFolder: string;
  readonly runPath: string;
}

/** The run's name there; the study names it otherwise. */
const NAME = 'run';
const LOCK = 'lock';
/** Below the folder of a job. */
const RUN_LOCK = join('runs', NAME, LOCK);

function placeOf({ id, cacheDir }: RunOptions): Place {
  const cache = settleSourceOptions(cacheDir === undefined ? {} : { cacheDir }).cacheDir;
  const folder = join(cache, 'whole-runs', id);
  const runsFolder = join(folder, 'runs');
  return { folder, configPath: join(folder, 'config.yaml'), runsFolder, runPath: join(runsFolder, NAME) };
}

/** A run that nobody continued for so long is removed. */
const ABANDONED_MS = 7 * 24 * 3600 * 1000;

async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const found = await stat(join(parent, name)).catch(() => undefined);
    if (found === undefined || nowMs() - found.mtimeMs < ABANDONED_MS) continue;
    if ((await lockHolder(join(parent, name, RUN_LOCK))) !== undefined) continue; // a run may take longer
    await rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Folders of what comes with a job, below its own. */
const SEEDS = 'seeds';
const MODEL = 'model';

const objectOf = (value: unknown): object => (value !== null && typeof value === 'object' ? value : {});

/**
 * The config of a job, checked as a file's, with the files that came with the job in place of any others. Nothing that it
 * names was opened before.
 * @throws FloodgateError `config` for what its schema refuses, and for what this worker may not do.
 */
function checkedConfig(job: RunJob, { folder }: Place, { permissions, threads, memory }: RunOptions): Config {
  const [seeds] = job.seeds;
  const path = join(folder, SEEDS, seeds?.name ?? '');
  const asked = seeds === undefined ? job.config : { ...job.config, seeds: { ...objectOf(job.config.seeds), path } };
  const own = Object.entries({ threads, memory }).filter(([, value]) => value !== undefined);
  const overrides = own.map(([key, value]) => `${key}=${value}`);
  const parsed = parseConfig(yaml().stringify(asked, { lineWidth: 0 }), { fileName: 'the job', folder, overrides });
  const { judges } = parsed;
  const target = job.model.length === 0 ? parsed.target : mapTargetModels(parsed.target, () => join(folder, MODEL));
  const config = { ...parsed, target };
  refuseUnportable(config);
  if (seeds === undefined && !isWorldSeeds(config))
    throw new FloodgateError('config', `seeds.path: a worker reads no file of its own, got ${config.seeds.path}`);
  const known = { target, judges: [judges.training, ...judges.evaluation] };
  checkPermissions(known, permissions ?? { code: [], files: [] });
  return config;
}

const isPlainName = (name: string): boolean => !name.includes('/');

/** Writes what came with the job, once. */
async function prepare(job: RunJob, place: Place, options: RunOptions): Promise<void> {
  const config = checkedConfig(job, place, options);
  if (existsSync(place.configPath)) return;
  await rm(place.folder, { recursive: true, force: true }); // what a killed worker has half fetched
  for (const [name, files] of [
    [SEEDS, job.seeds],
    [MODEL, job.model],
  ] as const) {
    await makePrivateFolder(place.folder);
    await mkdir(join(place.folder, name));
    await fetchFiles(options.blobs, files, join(place.folder, name), isPlainName);
  }
  await writeFileAtomically(place.configPath, (file) => file.writeFile(yaml().stringify(config, { lineWidth: 0 })));
}

/** How often it is looked whether another process still has the run. */
const LOOK_MS = 250;

/** A worker that was killed leaves a process that ends a moment later. */
async function awaitLock({ runPath }: Place, signal: AbortSignal): Promise<void> {
  while (existsSync(runPath) && (await lockHolder(join(runPath, LOCK))) !== undefined)
    await wait(LOOK_MS, undefined, { signal });
}

/** A run that is told to stop has so long to store what it has. */
const STOP_MS = 2000;

function send(child: ChildProcess, message: RunTask | 'stop'): void {
  if (child.connected) child.send(message, () => undefined);
}

/** Between two lines of progress. */
const LINE_MS = 1000;

/**
 * Runs the job's config in a process of its own: what blocks or fills that process leaves the worker as it is. The
 * process ends with the worker.
 */
async function runInProcess(place: Place, options: RunOptions): Promise<RunEnd | undefined> {
  const { signal, cacheDir, variables = [], progressed } = options;
  const log = await open(join(place.folder, 'log.txt'), 'a', 0o600);
  // Its own process group: a Ctrl-C of the terminal reaches it from here.
  const child = fork(programFile('workers/run-process.js'), {
    stdio: ['ignore', log.fd, log.fd, 'ipc'],
    detached: process.platform !== 'win32',
    execArgv: [],
  });
  let logged: Promise<unknown> = Promise.resolve();
  let end: RunEnd | undefined;
  let saidMs = 0;
  const ended = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', reject);
  });
  child.on('message', (message: RunMessage) => {
    switch (message.kind) {
      case 'log':
        logged = logged.then(() => log.appendFile(`${message.line}\n`)).catch(() => undefined);
        return;
      case 'line':
        if (monotonicMs() - saidMs <= LINE_MS) return;
        saidMs = monotonicMs();
        return progressed(message.line);
      default:
        end = message;
    }
  });
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    send(child, 'stop');
    timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  };
  signal.addEventListener('abort', stop, { once: true });
  try {
    const { configPath, runsFolder } = place;
    send(child, { configPath, runsFolder, name: NAME, variables, ...(cacheDir === undefined ? {} : { cacheDir }) });
    await ended;
    return end;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    await logged;
    await log.close();
  }
}

async function filesOf({ runPath }: Place, blobs: Blobs): Promise<CarriedFile[]> {
  const names = (await readdir(runPath, { recursive: true, withFileTypes: true })).flatMap((entry) => {
    if (!entry.isFile()) return [];
    return [entry.parentPath === runPath ? entry.name : `${entry.parentPath.slice(runPath.length + 1)}/${entry.name}`];
  });
  const files: CarriedFile[] = [];
  for (const name of names.filter(isRunFile).sort()) files.push(await putFile(blobs, join(runPath, name), name));
  return files;
}

/**
 * A whole run of a study: does it, or resumes it where this worker or one before it has begun it, and hands its files
 * back. @returns an error of the run too. @throws the signal's reason on abort; the next start resumes it.
 */
export async function performRun(job: RunJob, options: RunOptions): Promise<Outcome> {
  const { signal, blobs, counts } = options;
  const place = placeOf(options);
  try {
    await removeAbandoned(join(place.folder, '..'));
    await prepare(job, place, options);
    const now = new Date(nowMs());
    await utimes(place.folder, now, now); // it is in use
    await awaitLock(place, signal);
    signal.throwIfAborted();
    const end = await runInProcess(place, options);
    signal.throwIfAborted();
    if (end === undefined)
      throw new FloodgateError('run', 'whole run: its process ended without a result', {
        hint: `see ${join(place.folder, 'log.txt')}`,
      });
    if (end.kind === 'error') return end;
    const files = await filesOf(place, blobs);
    await rm(place.folder, { recursive: true, force: true });
    counts.jobs++;
    counts.runs++;
    return { kind: 'ran', files };
  } catch (error) {
    signal.throwIfAborted();
    return errorOutcome(error);
  }
}
