import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { syncFolder, toWriteError } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { gitBlobSha1OfFile, sha256OfFile } from './file-hash.ts';
import { joinInside } from './file-name.ts';
import { type HttpResponse, type HttpSession, requestUrl, transientFailure, withRetries } from './http-session.ts';
import type { ModelFile } from './model-cache.ts';

/** Largest file that is accepted; stops a server that sends without end where the size is unknown. */
const MAX_FILE_BYTES = 64 * 1024 ** 3;

const stateSchema = z.object({
  /** The ETag of the server that was asked; the hub's is the hash of the content. */
  linkedEtag: z.string().nullable(),
  /** The ETag of the server that sent the bytes, for `If-Range`. */
  bodyEtag: z.string().nullable(),
});
type PartialState = z.infer<typeof stateSchema>;

/** A file as a listing has it. A field is undefined where the listing omits it. */
export interface RemoteFile {
  /** Relative path under which it is stored. */
  readonly name: string;
  readonly bytes: number | undefined;
  /** Of the content. */
  readonly sha256: string | undefined;
  /** Git's SHA-1 of the content, which the hub lists for small files. */
  readonly gitSha1: string | undefined;
}

export interface FileDownload {
  readonly session: HttpSession;
  readonly url: URL;
  readonly file: RemoteFile;
  readonly outFolder: string;
  readonly scratchFolder: string;
  /** Largest size where the listing has none; default: that of the largest model file. */
  readonly maxBytes?: number;
  /** Receives the number of bytes of this file that are on disk. */
  onBytes(bytes: number): void;
  /** Receives the size of the whole file, where known, and the bytes on disk; its error ends the download. */
  onSize?(total: number | undefined, have: number): Promise<void>;
}

interface PartialFile {
  readonly path: string;
  readonly statePath: string;
}

/**
 * Downloads one file into `outFolder`. Resumes a `.partial` file when the server still has the same content. Checks
 * size and hash against the listing before the file gets its name.
 * @throws FloodgateError `source` when the download fails or differs from the listing; `interrupted` when stopped.
 */
export async function downloadFile(download: FileDownload): Promise<ModelFile> {
  const { file, session, scratchFolder } = download;
  const operation = `pull file ${file.name}`;
  const key = createHash('sha256').update(file.name).digest('hex').slice(0, 16); // names may hold folders
  const partial: PartialFile = {
    path: join(scratchFolder, `${key}.partial`),
    statePath: join(scratchFolder, `${key}.json`),
  };
  await mkdir(scratchFolder, { recursive: true });
  let received = 0;
  const countBytes = (bytes: number): void => {
    received = Math.max(received, bytes);
    download.onBytes(bytes);
  };
  await withRetries(
    session,
    operation,
    () => continuePartial({ ...download, onBytes: countBytes }, partial, operation),
    () => received,
  );
  const verified = await verifyPartial(partial, file, operation);
  const path = joinInside(download.outFolder, file.name);
  await mkdir(dirname(path), { recursive: true });
  await rename(partial.path, path);
  await syncFolder(dirname(path));
  await rm(partial.statePath, { force: true });
  return verified;
}

/** One attempt: requests the missing bytes and appends them. Returns when the file is complete. */
async function continuePartial(download: FileDownload, partial: PartialFile, operation: string): Promise<void> {
  const { file, session } = download;
  const state = await readState(partial);
  let have = await usableBytes(partial, state, download);
  if (have > 0 && have === file.bytes) return;
  const response = await requestUrl(session, download.url, operation, have > 0 ? rangeHeaders(have, state) : {});
  try {
    const fresh = readEtags(response);
    ensureExpectedVersion(fresh, file, operation);
    if (have > 0 && !isSameContent(response, state, fresh, have)) {
      if (response.status !== 200) {
        await discardPartial(partial);
        throw transientFailure('the content changed while it was fetched');
      }
      have = 0; // the server sends all of the new content
    }
    if (response.status === 416) throw transientFailure('the server refused the range');
    const total = announcedTotal(response, have) ?? file.bytes;
    ensureExpectedSize(total, download, operation);
    await download.onSize?.(total, have);
    await writeFile(partial.statePath, JSON.stringify(fresh));
    await appendBody(response, partial, have, {
      total,
      maxBytes: limitOf(download),
      operation,
      onBytes: download.onBytes,
    });
  } finally {
    await response.discard();
  }
}

function rangeHeaders(have: number, state: PartialState | undefined): Record<string, string> {
  const isStrong = state?.bodyEtag?.startsWith('"') === true; // If-Range takes no weak ETag
  return { range: `bytes=${have}-`, ...(isStrong && state.bodyEtag !== null ? { 'if-range': state.bodyEtag } : {}) };
}

/** Bytes of the partial file that may be resumed. Returns 0 unless a hash or ETag can later detect mixed content. */
async function usableBytes(
  partial: PartialFile,
  state: PartialState | undefined,
  download: FileDownload,
): Promise<number> {
  const { file } = download;
  const size = await stat(partial.path).then(
    (found) => found.size,
    () => 0,
  );
  const canTell = file.sha256 !== undefined || file.gitSha1 !== undefined || state?.bodyEtag?.startsWith('"') === true;
  if (size > 0 && state !== undefined && canTell && size <= limitOf(download)) return size;
  await discardPartial(partial);
  return 0;
}

async function discardPartial(partial: PartialFile): Promise<void> {
  await rm(partial.path, { force: true });
  await rm(partial.statePath, { force: true });
}

async function readState(partial: PartialFile): Promise<PartialState | undefined> {
  try {
    return stateSchema.parse(JSON.parse(await readFile(partial.statePath, 'utf8')));
  } catch {
    return undefined; // none, or cut while it was written: start over
  }
}

function readEtags({ firstHeaders, headers }: HttpResponse): PartialState {
  const linkedEtag = firstHeaders.get('x-linked-etag') ?? firstHeaders.get('etag');
  return { linkedEtag, bodyEtag: headers.get('etag') };
}

/** @throws FloodgateError `source` when the server reports a hash that differs from the listing. */
function ensureExpectedVersion({ linkedEtag }: PartialState, file: RemoteFile, operation: string): void {
  const hash = linkedEtag?.replace(/^W\//, '').replaceAll('"', '');
  if (file.sha256 === undefined || hash === undefined || !/^[0-9a-f]{64}$/.test(hash) || hash === file.sha256) return;
  throw new FloodgateError(
    'source',
    `${operation}: the server offers other content, got sha256 ${hash}, expected ${file.sha256}`,
  );
}

function isSameContent(
  response: HttpResponse,
  old: PartialState | undefined,
  fresh: PartialState,
  have: number,
): boolean {
  if (response.status !== 206 || old === undefined) return false;
  const isSameEtag = old.bodyEtag === fresh.bodyEtag && old.linkedEtag === fresh.linkedEtag;
  return isSameEtag && parseContentRange(response)?.start === have;
}

function parseContentRange(response: HttpResponse): { start: number; total: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(response.headers.get('content-range') ?? '');
  if (match === null) return undefined;
  return { start: Number(match[1]), total: match[2] === '*' ? undefined : Number(match[2]) };
}

/** Size of the whole file according to this response, or undefined. */
function announcedTotal(response: HttpResponse, have: number): number | undefined {
  if (have > 0) return parseContentRange(response)?.total;
  const length = response.headers.get('content-length');
  return length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

function limitOf({ file, maxBytes }: FileDownload): number {
  return file.bytes ?? maxBytes ?? MAX_FILE_BYTES;
}

function ensureExpectedSize(total: number | undefined, download: FileDownload, operation: string): void {
  const { file } = download;
  const limit = limitOf(download);
  const isWrong = total !== undefined && (file.bytes === undefined ? total > limit : total !== file.bytes);
  if (!isWrong) return;
  throw new FloodgateError('source', `${operation}: the size is wrong, got ${total} bytes, expected ${limit}`);
}

interface AppendOptions {
  readonly total: number | undefined;
  readonly maxBytes: number;
  readonly operation: string;
  onBytes(bytes: number): void;
}

async function appendBody(
  response: HttpResponse,
  partial: PartialFile,
  have: number,
  options: AppendOptions,
): Promise<void> {
  const limit = options.total ?? options.maxBytes;
  const handle = await open(partial.path, have > 0 ? 'a' : 'w');
  let bytes = have;
  try {
    for await (const chunk of response.body) {
      bytes += chunk.length;
      if (bytes > limit) {
        await discardPartial(partial);
        throw new FloodgateError('source', `${options.operation}: the server sends more than ${limit} bytes`);
      }
      await handle.writeFile(chunk).catch((cause: unknown) => {
        throw toWriteError(partial.path, cause);
      });
      options.onBytes(bytes);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (options.total !== undefined && bytes < options.total) {
    throw transientFailure(`the connection was cut after ${bytes} of ${options.total} bytes`);
  }
}

async function verifyPartial(partial: PartialFile, file: RemoteFile, operation: string): Promise<ModelFile> {
  const { size } = await stat(partial.path);
  const sha256 = await sha256OfFile(partial.path);
  const fault = await faultOfPartial(partial, file, size, sha256);
  if (fault === undefined) return { name: file.name, sha256, bytes: size };
  await discardPartial(partial);
  throw new FloodgateError('source', `${operation}: ${fault}`, {
    hint: 'run the same command again: it downloads this file from the start',
  });
}

async function faultOfPartial(
  partial: PartialFile,
  file: RemoteFile,
  size: number,
  sha256: string,
): Promise<string | undefined> {
  if (file.bytes !== undefined && size !== file.bytes)
    return `the size is wrong, got ${size} bytes, expected ${file.bytes}`;
  if (file.sha256 !== undefined && sha256 !== file.sha256)
    return `wrong sha256, got ${sha256}, expected ${file.sha256}`;
  if (file.gitSha1 === undefined) return undefined;
  const gitSha1 = await gitBlobSha1OfFile(partial.path);
  return gitSha1 === file.gitSha1 ? undefined : `wrong git hash, got ${gitSha1}, expected ${file.gitSha1}`;
}

/** A file that an earlier, stopped pull finished. It was verified before it got its name. */
export async function findFinished(outFolder: string, file: RemoteFile): Promise<ModelFile | undefined> {
  const path = joinInside(outFolder, file.name);
  const bytes = await sizeOnDisk(path);
  if (bytes === undefined || bytes !== (file.bytes ?? bytes)) return undefined;
  const sha256 = await sha256OfFile(path);
  return sha256 === (file.sha256 ?? sha256) ? { name: file.name, sha256, bytes } : undefined;
}

/** Size of the file at `path`, or undefined when there is none. */
export async function sizeOnDisk(path: string): Promise<number | undefined> {
  return stat(path).then(
    (found) => found.size,
    () => undefined,
  );
}
