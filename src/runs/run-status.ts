import { runLockHolder } from '../base/lock.ts';
import type { RunFolder } from './run-folder.ts';
import type { StoreQueries } from './store/queries.ts';
import type { StoreWriter } from './store/writer.ts';

export type RunStatus = 'created' | 'running' | 'done' | 'failed' | 'interrupted';

const STATUS_KEY = 'status';

/** Notes how far the run has come, for `floodgate list` and the report. */
export function recordRunStatus(store: StoreWriter, status: RunStatus): void {
  store.setInfo(STATUS_KEY, status);
}

/** Returns the status of a run: one that says `running` while no process holds it was killed. */
export async function runStatus(folder: RunFolder, store: StoreQueries): Promise<RunStatus> {
  const noted = (store.info(STATUS_KEY) ?? 'created') as RunStatus;
  if (noted !== 'running') return noted;
  return (await runLockHolder(folder.lockPath)) === undefined ? 'interrupted' : 'running';
}
