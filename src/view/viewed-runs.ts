import { listRunFolders, openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { ApiError } from '../serve/api-error.ts';

/** The runs that a viewer shows. A request names one by its key; no key ever becomes a path. */
export interface ViewedRuns {
  /** In the order in which they are shown. */
  list(): Promise<ReadonlyMap<string, RunFolder>>;
  /** @throws ApiError 404. */
  find(key: string): Promise<RunFolder>;
}

/** Two runs of one name in different folders get different keys. */
function keysOf(folders: readonly RunFolder[]): Map<string, RunFolder> {
  const keyed = new Map<string, RunFolder>();
  for (const folder of folders) {
    let key = folder.name;
    for (let number = 2; keyed.has(key); number++) key = `${folder.name}~${number}`;
    keyed.set(key, folder);
  }
  return keyed;
}

/**
 * @param names Runs by name or path; none: all runs of the folder, those that begin later included.
 * @throws FloodgateError `usage` for a name without a run.
 */
export async function openViewedRuns(names: readonly string[], runsFolder: string): Promise<ViewedRuns> {
  const chosen = await Promise.all(names.map((name) => openRunFolder(name, runsFolder)));
  const list = async () => keysOf(chosen.length > 0 ? chosen : await listRunFolders(runsFolder));
  return {
    list,
    find: async (key) => {
      const folder = (await list()).get(key);
      if (folder === undefined) throw new ApiError(404, 'there is no such run here', { code: 'unknown_run' });
      return folder;
    },
  };
}
