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
export function contentOf(folders: readonly RunFolder[]): RunContent {
  let latest = 0;
  const marks = folders.flatMap(filesOf).map((path) => {
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
  async of<T extends { readonly status: string }>(what: string, folder: RunFolder, make: () => Promise<T>): Promise<T> {
    const key = `${what} ${folder.path}`;
    const content = contentOf([folder]);
    const known = this.kept.get(key);
    if (known?.mark === content.mark) return known.answer as T;
    const answer = await make();
    if (this.kept.size >= MAX_KEPT) this.kept.clear();
    if (content.isSettled && answer.status !== 'running') this.kept.set(key, { mark: content.mark, answer });
    return answer;
  }
}
