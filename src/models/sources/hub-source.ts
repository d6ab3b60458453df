import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { downloadFile, findFinished, type RemoteFile, sizeOnDisk } from './file-download.ts';
import { joinInside } from './file-name.ts';
import { selectModelFiles, WEIGHT_INDEX } from './file-selection.ts';
import type { HttpSession } from './http-session.ts';
import { listHubFiles } from './hub-listing.ts';
import { hubUrl, openHubSession } from './hub-session.ts';
import type { ModelFile, PullRecord } from './model-cache.ts';
import { ensureFreeSpace, type FetchRequest } from './model-source.ts';
import { type HubSpec, specToText } from './model-spec.ts';

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/**
 * Assumed size of a file that the hub lists without one. It is enough for a small model, so a full disk is noticed
 * early.
 */
const UNKNOWN_FILE_BYTES = 64 * 1024 ** 2;

/**
 * Downloads a model from the hub, at the recorded commit or the one that the revision means. Takes only the files that
 * make up the model; each is resumable and verified.
 * @throws FloodgateError `source` when a download fails or differs from the listing; `interrupted` when stopped.
 */
export async function fetchHubModel(request: FetchRequest, spec: HubSpec): Promise<PullRecord> {
  const { settings, record, specText } = request;
  const session = await openHubSession(settings);
  const listing = await listHubFiles(session, spec.repository, record?.origin ?? spec.revision);
  const names = listing.files.map((file) => file.name);
  const selected = selectModelFiles(names, spec.file, specText, (file) => specToText({ ...spec, file }));
  const wanted = selected.names.flatMap((name) => listing.files.find((file) => file.name === name) ?? []);
  await keepWorkOfCommit(request, listing.commit);
  await ensureFreeSpace(request.outFolder, await missingBytes(request.outFolder, wanted));
  const files = await downloadAll(request, session, `/${spec.repository}/resolve/${listing.commit}`, wanted);
  if (selected.main === WEIGHT_INDEX) await ensureShardsComplete(request.outFolder, selected.names, specText);
  return { spec: specText, origin: listing.commit, files };
}

/** Deletes unfinished work of another commit: its files must not mix with this one's. */
async function keepWorkOfCommit({ outFolder, scratchFolder }: FetchRequest, commit: string): Promise<void> {
  const markPath = join(scratchFolder, 'commit');
  const mark = await readFile(markPath, 'utf8').catch(() => undefined);
  if (mark === commit) return;
  await rm(outFolder, { recursive: true, force: true });
  await rm(scratchFolder, { recursive: true, force: true });
  await mkdir(scratchFolder, { recursive: true });
  await writeFile(markPath, commit);
}

async function missingBytes(outFolder: string, files: readonly RemoteFile[]): Promise<number> {
  let bytes = 0;
  for (const file of files) {
    if ((await sizeOnDisk(joinInside(outFolder, file.name))) === undefined) bytes += file.bytes ?? UNKNOWN_FILE_BYTES;
  }
  return bytes;
}

async function downloadAll(
  request: FetchRequest,
  session: HttpSession,
  basePath: string,
  wanted: readonly RemoteFile[],
): Promise<ModelFile[]> {
  const { outFolder, scratchFolder, settings, specText } = request;
  const areSizesKnown = wanted.every((file) => file.bytes !== undefined);
  const totalBytes = wanted.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
  const bar = settings.progress.start(`pull ${specText}`, areSizesKnown ? totalBytes : undefined, 'bytes');
  const files: ModelFile[] = [];
  let finishedBytes = 0;
  try {
    for (const file of wanted) {
      const onBytes = (bytes: number): void => bar.update(finishedBytes + bytes, file.name);
      const finished =
        (await findFinished(outFolder, file)) ??
        (await downloadFile({
          session,
          url: hubUrl(session, basePath + pathOf(file)),
          file,
          outFolder,
          scratchFolder,
          onBytes,
        }));
      files.push(finished);
      finishedBytes += finished.bytes;
      bar.update(finishedBytes, file.name);
    }
  } finally {
    bar.finish();
  }
  return files;
}

function pathOf({ name }: RemoteFile): string {
  return `/${name.split('/').map(encodeURIComponent).join('/')}`;
}

/** @throws FloodgateError `source` when the index names shards that the repository does not have. */
async function ensureShardsComplete(outFolder: string, names: readonly string[], specText: string): Promise<void> {
  const text = await readFile(joinInside(outFolder, WEIGHT_INDEX), 'utf8');
  const index = indexSchema.safeParse(parseJson(text));
  if (!index.success) throw new FloodgateError('source', `pull ${specText}: ${WEIGHT_INDEX} is no index of shards`);
  const missing = Object.values(index.data.weight_map).find((shard) => !names.includes(shard));
  if (missing === undefined) return;
  throw new FloodgateError(
    'source',
    `pull ${specText}: ${WEIGHT_INDEX} names a shard that is not there, got ${missing}`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
