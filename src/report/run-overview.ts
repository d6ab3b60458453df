import { access } from 'node:fs/promises';
import { type Manifest, readManifest } from '../runs/manifest.ts';
import { type RunFolder, type RunStatus, runStatus } from '../runs/run-folder.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { hasBegun, openStore, type RunStore } from '../runs/store/run-store.ts';
import { buildReport, type Report } from './figures/report-json.ts';

/** A run in its present state, read without disturbing it. */
export interface RunOverview {
  readonly folder: RunFolder;
  readonly status: RunStatus;
  /** Undefined until the run has opened its models. */
  readonly manifest: Manifest | undefined;
  /** Undefined without a manifest or a database. */
  readonly report: Report | undefined;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Returns the result of `read` over a run's overview and database, and closes the database afterwards. */
export async function readRun<T>(
  folder: RunFolder,
  read: (overview: RunOverview, store: RunStore | undefined) => T | Promise<T>,
): Promise<T> {
  const manifest = (await exists(folder.manifestPath)) ? await readManifest(folder.manifestPath) : undefined;
  if (!hasBegun(folder.databasePath)) {
    return read({ folder, status: 'created', manifest, report: undefined }, undefined);
  }
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const status = await runStatus(folder, store);
    const report =
      manifest === undefined
        ? undefined
        : buildReport({ store, manifest, status, labels: readLabels(folder.labelsPath) });
    return await read({ folder, status, manifest, report }, store);
  } finally {
    store.close();
  }
}
