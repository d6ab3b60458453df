import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

/** Where the runs of real child processes lie, and how they are started. */
export interface CampaignPlace {
  /** `main.js` of the compiled command line. */
  readonly mainPath: string;
  /** Working folder: relative paths of the config count from it. */
  readonly folder: string;
  readonly configFile: string;
  readonly runsFolder: string;
  /** Absent: the user's own model cache. */
  readonly cacheFolder?: string;
  /** `--set` of every new run. */
  readonly overrides: readonly string[];
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** A shell command before the process takes the shell's place, e.g. a limit: `ulimit -f 100`. */
  readonly before?: string;
  /** User of the process, when the tests run as root. */
  readonly uid?: number;
}

export interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stderr: string;
}

/** A running command. `sections` grows as it goes: the label of each progress line, with when it first came. */
export interface CampaignProcess {
  readonly child: ChildProcess;
  readonly startedMs: number;
  readonly sections: readonly { readonly label: string; readonly ms: number }[];
  readonly outcome: Promise<Outcome>;
  kill(signal: NodeJS.Signals): void;
}

const PROGRESS_LINE = /^([^:\n]+(?::[a-z][^:\n]*)?): [\d,]+/gm;

function watch(child: ChildProcess): CampaignProcess {
  const startedMs = performance.now();
  const sections: { label: string; ms: number }[] = [];
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    for (const [, label = ''] of stderr.matchAll(PROGRESS_LINE)) {
      if (!sections.some((known) => known.label === label)) sections.push({ label, ms: performance.now() - startedMs });
    }
  });
  const outcome = once(child, 'close').then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as string | null,
    stderr,
  }));
  return { child, startedMs, sections, outcome, kill: (signal) => void child.kill(signal) };
}

/** Runs `floodgate ARGS` as a process of its own. */
export function startProcess(
  place: CampaignPlace,
  args: readonly string[],
  options: ProcessOptions = {},
): CampaignProcess {
  const { mainPath, runsFolder, cacheFolder, folder } = place;
  const all = [mainPath, ...args, '--runs-dir', runsFolder];
  if (cacheFolder !== undefined) all.push('--cache-dir', cacheFolder);
  const shell = ['/bin/sh', '-c', `${options.before} && exec "$0" "$@"`, process.execPath, ...all];
  const [command = '', ...rest] = options.before === undefined ? [process.execPath, ...all] : shell;
  const env = { ...process.env, ...options.env };
  const user = options.uid === undefined ? {} : { uid: options.uid, gid: options.uid };
  return watch(spawn(command, rest, { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'], ...user }));
}

export function startRunProcess(place: CampaignPlace, name: string, options?: ProcessOptions): CampaignProcess {
  const sets = place.overrides.flatMap((override) => ['--set', override]);
  return startProcess(place, ['run', place.configFile, '--name', name, ...sets], options);
}

export function resumeProcess(place: CampaignPlace, name: string, options?: ProcessOptions): CampaignProcess {
  return startProcess(place, ['resume', path.join(place.runsFolder, name)], options);
}
