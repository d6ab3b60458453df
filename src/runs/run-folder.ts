import { access, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { z } from 'zod';
import {
  makePrivateFolder,
  partialPathOf,
  removePartialFolders,
  syncFolder,
  toWriteError,
  writeFileAtomically,
} from '../base/atomic-file.ts';
import { RUN_NAME_PATTERN } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { lockHolder } from '../base/lock.ts';
import { yaml } from '../base/yaml.ts';
import { parseConfigText, readConfigText } from './config/config-file.ts';
import { isManifestFile } from './manifest.ts';
import type { StoreQueries } from './store/queries.ts';
import { isRunDatabase } from './store/run-store.ts';
import type { StoreWriter } from './store/writer.ts';

/** Paths of the parts of one run. A part exists only once the run has made it. */
export interface RunFolder {
  readonly name: string;
  readonly path: string;
  readonly databasePath: string;
  /** The resolved config: defaults filled in, paths absolute but for a target that moves with the run. */
  readonly configPath: string;
  readonly manifestPath: string;
  readonly checkpointsPath: string;
  readonly reportPath: string;
  readonly lockPath: string;
  /** Labels of readers: a database of its own. */
  readonly labelsPath: string;
}

/** Where run folders are made unless `--runs-dir` names another place. */
export const DEFAULT_RUNS_FOLDER = 'runs';

/** More runs of one name than anybody keeps. */
const MAX_NUMBERED = 10_000;

function runFolderAt(path: string): RunFolder {
  return {
    name: basename(path),
    path,
    databasePath: join(path, 'run.db'),
    configPath: join(path, 'config.yaml'),
    manifestPath: join(path, 'manifest.json'),
    checkpointsPath: join(path, 'checkpoints'),
    reportPath: join(path, 'report.json'),
    lockPath: join(path, 'lock'),
    labelsPath: join(path, 'labels.db'),
  };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function checkName(name: string): void {
  if (!RUN_NAME_PATTERN.test(name))
    throw new FloodgateError(
      'usage',
      `run name: got ${JSON.stringify(name)}, expected letters, digits, dot, dash, underscore`,
    );
}

/** Error codes when a folder cannot replace something that exists (EPERM: Windows). */
const TAKEN = ['EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EPERM'];

/**
 * Makes the folder with its config and returns true; returns false when something exists there already. The folder is
 * filled beside its place and then renamed, so that a kill leaves a whole run or none. Half a run could be neither
 * resumed nor started.
 */
async function makeFolder(
  folder: RunFolder,
  { configAt, fill }: Pick<CreateRunFolderOptions, 'configAt' | 'fill'>,
): Promise<boolean> {
  if (await exists(folder.path)) return false;
  const partial = runFolderAt(partialPathOf(folder.path));
  const kept = configAt(folder.path);
  try {
    await makePrivateFolder(partial.path);
    await mkdir(partial.checkpointsPath);
    await fill?.(partial);
    await writeFileAtomically(partial.configPath, (file) => file.writeFile(yaml().stringify(kept, { lineWidth: 0 })));
    await rename(partial.path, folder.path);
    await syncFolder(dirname(folder.path));
    return true;
  } catch (error) {
    await rm(partial.path, { recursive: true, force: true }).catch(() => undefined);
    const isTaken = TAKEN.includes((error as NodeJS.ErrnoException).code ?? '') && (await exists(folder.path));
    if (isTaken) return false; // another process was faster
    throw toWriteError(folder.path, error);
  }
}

export interface CreateRunFolderOptions {
  readonly runsFolder: string;
  readonly name: string;
  /** `refuse` when the user chose the name; `number` (name-2, name-3, ...) when it was derived. */
  readonly ifTaken: 'refuse' | 'number';
  /** The resolved config as the run folder at `path` keeps it. */
  configAt(path: string): object;
  /** Writes what else the folder holds from its first moment. */
  fill?(folder: RunFolder): Promise<void>;
}

/**
 * Returns a new run folder with the resolved config in it, which only its user may enter.
 * @throws FloodgateError `usage` for a name that is bad or taken; `store` when the disk refuses.
 */
export async function createRunFolder(options: CreateRunFolderOptions): Promise<RunFolder> {
  const { name, ifTaken } = options;
  checkName(name);
  const parent = resolve(options.runsFolder);
  try {
    await mkdir(parent, { recursive: true });
    await removePartialFolders(parent);
  } catch (error) {
    throw toWriteError(parent, error);
  }
  for (let number = 1; number <= MAX_NUMBERED; number++) {
    const folder = runFolderAt(join(parent, number === 1 ? name : `${name}-${number}`));
    if (await makeFolder(folder, options)) return folder;
    if (ifTaken === 'refuse') break;
  }
  throw takenError(name, parent);
}

function takenError(name: string, parent: string): FloodgateError {
  return new FloodgateError('usage', `run ${name}: a run of this name exists in ${parent}`, {
    hint: `floodgate resume ${name} continues it; --name chooses another`,
  });
}

/**
 * The name that `createRunFolder` would give a run now; another process may take it before.
 * @throws FloodgateError `usage` for a name that is bad or taken.
 */
export async function freeRunName(options: Omit<CreateRunFolderOptions, 'configAt' | 'fill'>): Promise<string> {
  const { name, ifTaken } = options;
  checkName(name);
  const parent = resolve(options.runsFolder);
  for (let number = 1; number <= (ifTaken === 'refuse' ? 1 : MAX_NUMBERED); number++) {
    const numbered = number === 1 ? name : `${name}-${number}`;
    if (!(await exists(join(parent, numbered)))) return numbered;
  }
  throw takenError(name, parent);
}

/** Keys that every config of a run has, so that another program's `config.yaml` is told from it. */
const runConfig = z.looseObject({
  authorisation: z.string(),
  attacker: z.looseObject({}),
  target: z.looseObject({}),
  judges: z.looseObject({}),
});

async function isRunConfig(path: string): Promise<boolean> {
  try {
    const text = await readConfigText(path);
    parseConfigText({ text, fileName: path }, { schema: runConfig, prepare: (value) => value, check: () => [] });
    return true;
  } catch {
    return false;
  }
}

/**
 * True when Floodgate made the folder: it wrote the database or the manifest, or nothing but the config yet. One of
 * them is enough, since the others may be damaged.
 */
export async function isRunFolder(folder: RunFolder): Promise<boolean> {
  if (!(await exists(folder.configPath))) return false;
  if (await isManifestFile(folder.manifestPath)) return true;
  if ((await exists(folder.checkpointsPath)) && (await isRunConfig(folder.configPath))) return true;
  return isRunDatabase(folder.databasePath);
}

/**
 * Returns the folder of an existing run, by name inside `runsFolder`, as `run:NAME`, or by path.
 * @throws FloodgateError `usage` when there is none, or the folder there is not a run of Floodgate.
 */
export async function openRunFolder(nameOrPath: string, runsFolder: string): Promise<RunFolder> {
  const name = nameOrPath.startsWith('run:') ? nameOrPath.slice('run:'.length) : nameOrPath;
  const isPath = name.includes('/') || name.includes(sep);
  if (!isPath) checkName(name);
  const folder = runFolderAt(isPath ? resolve(name) : resolve(runsFolder, name));
  if (!(await exists(folder.configPath)))
    throw new FloodgateError('usage', `run ${nameOrPath}: no such run at ${folder.path}`, {
      hint: 'floodgate list shows the runs; --runs-dir names another folder of runs',
    });
  if (!(await isRunFolder(folder)))
    throw new FloodgateError('usage', `run ${nameOrPath}: no run of Floodgate, got ${folder.path}`, {
      hint: 'its config.yaml, manifest.json and run.db are not those of a run',
    });
  return folder;
}

/** Returns the runs inside a folder, by name; none when the folder is missing. */
export async function listRunFolders(runsFolder: string): Promise<RunFolder[]> {
  const parent = resolve(runsFolder);
  const names = await readdir(parent).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new FloodgateError('run', `list runs: ${parent} cannot be read (${error.code})`, { cause: error });
  });
  // Names that begin with a dot are unfinished folders of killed processes.
  const folders = names
    .filter((name) => !name.startsWith('.'))
    .sort()
    .map((name) => runFolderAt(join(parent, name)));
  const isRun = await Promise.all(folders.map(({ configPath }) => exists(configPath)));
  return folders.filter((_folder, index) => isRun[index]);
}

export type RunStatus = 'created' | 'running' | 'done' | 'failed' | 'interrupted';

const STATUS_KEY = 'status';

/** Records the status of the run, for `floodgate list` and the report. */
export function recordRunStatus(store: StoreWriter, status: RunStatus): void {
  store.setInfo(STATUS_KEY, status);
}

/** Returns the status of a run. A run that says `running` while no process holds it was killed. */
export async function runStatus(folder: RunFolder, store: StoreQueries): Promise<RunStatus> {
  const noted = (store.info(STATUS_KEY) ?? 'created') as RunStatus;
  if (noted !== 'running') return noted;
  return (await lockHolder(folder.lockPath)) === undefined ? 'interrupted' : 'running';
}
