import { access } from 'node:fs/promises';
import { type Manifest, readManifest } from '../runs/manifest.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { type RunStatus, runStatus } from '../runs/run-status.ts';
import { openStore, type RunStore } from '../runs/store/run-store.ts';
import { buildReport, type Report } from './figures/report-json.ts';

/** A run as it stands, read without disturbing it. */
export interface RunOverview {
  readonly folder: RunFolder;
  readonly status: RunStatus;
  /** Undefined while the run has not got as far as knowing its models. */
  readonly manifest: Manifest | undefined;
  readonly report: Report | undefined;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Returns what `read` makes of a run's database and overview; the database is closed afterwards. */
export async function readRun<T>(
  folder: RunFolder,
  read: (overview: RunOverview, store: RunStore | undefined) => T | Promise<T>,
): Promise<T> {
  const manifest = (await exists(folder.manifestPath)) ? await readManifest(folder.manifestPath) : undefined;
  if (!(await exists(folder.databasePath))) {
    return read({ folder, status: 'created', manifest, report: undefined }, undefined);
  }
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const status = await runStatus(folder, store);
    const report = manifest === undefined ? undefined : buildReport({ store, manifest, status });
    return await read({ folder, status, manifest, report }, store);
  } finally {
    store.close();
  }
}

/** `0.46 [0.40, 0.52]`, or a dash for what is not known. */
export function measureText(measure: Report['stages'][number]['metrics'][string] | undefined, digits?: number): string {
  if (measure?.value === null || measure === undefined) return '-';
  const { value, low, high } = measure;
  const round = (number: number) =>
    digits === undefined && Number.isInteger(number) ? String(number) : number.toFixed(digits ?? 3);
  return low === null || high === null ? round(value) : `${round(value)} [${round(low)}, ${round(high)}]`;
}
