// The program of the thread that compares runs. It reads whole databases while the server answers other requests.
import { parentPort, workerData } from 'node:worker_threads';
import { FloodgateError } from '../base/errors.ts';
import { type CompareStep, type Comparison, compareRuns } from '../report/compare/compare-runs.ts';
import type { RunFolder } from '../runs/run-folder.ts';

export interface CompareTask {
  readonly folders: readonly RunFolder[];
}

/** Messages of the thread: any number of steps, then one of the others. */
export type CompareMessage =
  | { readonly kind: 'step'; readonly step: CompareStep }
  | { readonly kind: 'compared'; readonly comparison: Comparison }
  /** These runs cannot be compared, for a reason that a reader can fix. */
  | { readonly kind: 'refused'; readonly reason: string };

const say = (message: CompareMessage): void => parentPort?.postMessage(message);

try {
  const { folders } = workerData as CompareTask;
  const comparison = await compareRuns(folders, (step) => say({ kind: 'step', step }));
  say({ kind: 'compared', comparison });
} catch (error) {
  if (!(error instanceof FloodgateError) || (error.code !== 'run' && error.code !== 'usage')) throw error;
  say({ kind: 'refused', reason: error.message });
}
