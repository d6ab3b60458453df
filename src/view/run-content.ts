import { statSync } from 'node:fs';
import { join } from 'node:path';
import { sha256Of } from '../base/canonical-json.ts';
import { nowMs } from '../base/clock.ts';
import type { RunFolder } from '../runs/run-folder.ts';

/** Clocks of file systems are coarse: a file that changed so lately may change again under the same time. */
const RACY_MS = 1000;

/** The state of the files of runs. */
export interface RunContent {
  readonly mark: string;
  /** False where a change could leave the mark as it is. */
  readonly isSettled: boolean;
}

/** Where the figures of a run come from, and what says whether a process works on it. */
const filesOf = ({ path, databasePath, labelsPath, configPath, manifestPath, lockPath }: RunFolder): string[] => {
  const calls = join(path, 'calls.db');
  const databases = [databasePath, labelsPath, calls].flatMap((each) => [each, `${each}-wal`]);
  return [...databases, configPath, manifestPath, lockPath];
};

/** The present content of runs; reads no file. */
export const contentOf = (folders: readonly RunFolder[]): RunContent => markOf(folders.flatMap(filesOf));

/** The same of the database alone. */
export const databaseContentOf = ({ databasePath }: RunFolder): RunContent =>
  markOf([databasePath, `${databasePath}-wal`]);

function markOf(paths: readonly string[]): RunContent {
  let latest = 0;
  const marks = paths.map((path) => {
    const found = statSync(path, { throwIfNoEntry: false, bigint: true });
    // An empty log comes and goes with every reader.
    if (found === undefined || found.size === 0n) return null;
    latest = Math.max(latest, Number(found.mtimeMs));
    return [found.dev, found.ino, found.size, found.mtimeNs].join(' ');
  });
  return { mark: sha256Of(JSON.stringify(marks)), isSettled: nowMs() - latest > RACY_MS };
}

/** More runs than one list shows at once; a map without a bound would grow with every run. */
const MAX_KEPT = 256;

/** Answers about runs at rest, each kept until its run changes. */
export class KeptAnswers {
  private readonly kept = new Map<string, { readonly mark: string; readonly answer: object }>();

  /** @param make the answer; one about a run that a process works on is not kept, since the process may be killed. */
  of<T extends { readonly status: string }>(what: string, folder: RunFolder, make: () => T | Promise<T>): Promise<T> {
    return this.ofContent(`${what} ${folder.path}`, contentOf([folder]), make, ({ status }) => status !== 'running');
  }

  /** An answer that depends on a run's database alone. */
  ofDatabase<T extends object>(what: string, folder: RunFolder, make: () => T | Promise<T>): Promise<T> {
    return this.ofContent(`${what} ${folder.path}`, databaseContentOf(folder), make, () => true);
  }

  private async ofContent<T extends object>(
    key: string,
    content: RunContent,
    make: () => T | Promise<T>,
    mayKeep: (answer: T) => boolean,
  ): Promise<T> {
    const known = this.kept.get(key);
    if (known?.mark === content.mark) return known.answer as T;
    const answer = await make();
    if (this.kept.size >= MAX_KEPT) this.kept.clear();
    if (content.isSettled && mayKeep(answer)) this.kept.set(key, { mark: content.mark, answer });
    return answer;
  }
}
