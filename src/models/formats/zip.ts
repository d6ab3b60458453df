import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { syncFolder, toWriteError } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';

export interface ZipLimits {
  /** Zip bomb: largest unpacked size of one wanted file, in bytes. */
  readonly maxEntryBytes: number;
  /** Zip bomb: largest unpacked size of all wanted files together, in bytes. */
  readonly maxTotalBytes: number;
  /** A directory of millions of entries, which takes for ever to read. */
  readonly maxEntries: number;
}

function fail(zipPath: string, what: string, cause?: unknown): FloodgateError {
  return new FloodgateError('format', `unpack ${zipPath}: ${what}`, cause === undefined ? {} : { cause });
}

/** Zip slip: an output name must stay below the output folder on every system. */
function isInside(name: string): boolean {
  if (name === '' || name.includes('\\') || name.includes('\0') || /^[A-Za-z]:/.test(name)) return false;
  return name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/** Whether the disk caused the error rather than the zip. */
function isDiskError(cause: unknown): boolean {
  return (
    cause instanceof Error && 'code' in cause && ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES'].includes(String(cause.code))
  );
}

/** Counts the bytes that really come out: the sizes that a zip claims are not trusted. */
function byteLimiter(limit: number, onExcess: () => FloodgateError): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > limit) done(onExcess());
      else done(null, chunk);
    },
  });
}

async function unpackEntry(zip: ZipFile, entry: Entry, partial: string, limiter: Transform): Promise<void> {
  await mkdir(dirname(partial), { recursive: true });
  await pipeline(await zip.openReadStreamPromise(entry), limiter, createWriteStream(partial, { flags: 'wx' }));
  const handle = await open(partial, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface OpenZip {
  readonly zip: ZipFile;
  readonly zipPath: string;
  readonly limits: ZipLimits;
}

/** One entry of a zip's directory. */
export interface ZipEntry {
  readonly name: string;
  /** Unpacked size that the directory claims. `extractZipEntries` unpacks no more than this. */
  readonly unpackedBytes: number;
}

/**
 * Lists the files of a zip from its directory; nothing is unpacked.
 * @throws `format` when the zip is damaged or has too many entries.
 */
export function listZipEntries(zipPath: string, limits: Pick<ZipLimits, 'maxEntries'>): Promise<readonly ZipEntry[]> {
  return withZip(zipPath, async (zip) => {
    ensureFewEntries(zip, zipPath, limits);
    const entries: ZipEntry[] = [];
    for await (const { fileName, uncompressedSize } of zip.eachEntry()) {
      if (!fileName.endsWith('/')) entries.push({ name: fileName, unpackedBytes: uncompressedSize });
    }
    return entries;
  });
}

/** Runs `work` on the open zip. @throws `format` for whatever is wrong with the zip. */
async function withZip<T>(zipPath: string, work: (zip: ZipFile) => Promise<T>): Promise<T> {
  let zip: ZipFile | undefined;
  try {
    zip = await openPromise(zipPath, { autoClose: false, lazyEntries: true, validateEntrySizes: true });
    return await work(zip);
  } catch (cause) {
    if (cause instanceof FloodgateError || isDiskError(cause)) throw cause;
    throw fail(zipPath, cause instanceof Error ? cause.message : String(cause), cause);
  } finally {
    zip?.close();
  }
}

function ensureFewEntries(zip: ZipFile, zipPath: string, { maxEntries }: Pick<ZipLimits, 'maxEntries'>): void {
  if (zip.entryCount <= maxEntries) return;
  throw fail(zipPath, `it has ${zip.entryCount} entries, expected at most ${maxEntries}`);
}

/** Unpacks the wanted entries below `staging`; returns their output names. */
async function unpackWanted(
  { zip, zipPath, limits }: OpenZip,
  wanted: (name: string) => string | undefined,
  staging: string,
): Promise<string[]> {
  ensureFewEntries(zip, zipPath, limits);
  const outputs = new Set<string>();
  let claimedTotal = 0;
  for await (const entry of zip.eachEntry()) {
    const output = wanted(entry.fileName);
    if (output === undefined || entry.fileName.endsWith('/')) continue;
    if (!isInside(output)) throw fail(zipPath, `output name ${JSON.stringify(output)} leaves the folder`);
    if (outputs.has(output)) throw fail(zipPath, `two entries would be written to ${output}`);
    if (!entry.canDecodeFileData()) throw fail(zipPath, `${entry.fileName} is encrypted or of unknown compression`);
    claimedTotal += entry.uncompressedSize;
    const tooLarge = (): FloodgateError =>
      fail(zipPath, `${entry.fileName} unpacks to more than allowed, expected at most ${limits.maxEntryBytes} bytes`);
    if (entry.uncompressedSize > limits.maxEntryBytes || claimedTotal > limits.maxTotalBytes) throw tooLarge();
    outputs.add(output);
    // yauzl fails the stream when it gives more or less than `uncompressedSize`; the limiter does not rely on it.
    await unpackEntry(zip, entry, join(staging, output), byteLimiter(entry.uncompressedSize, tooLarge));
  }
  return [...outputs];
}

/**
 * Unpacks named files of a zip (a wheel is one) and returns their output names, in the zip's order.
 * `wanted` maps an entry's name to its output name below `outDir`, or to undefined to leave it packed. Every wanted
 * file is unpacked and fsynced in a staging folder; then each is renamed into `outDir`. Nothing is executed.
 * @throws `format` when the zip is damaged, too large, or would write outside `outDir`.
 */
export async function extractZipEntries(
  zipPath: string,
  wanted: (name: string) => string | undefined,
  outDir: string,
  limits: ZipLimits,
): Promise<string[]> {
  await mkdir(outDir, { recursive: true });
  const staging = join(outDir, `.partial-${process.pid}-${randomUUID()}`);
  try {
    return await withZip(zipPath, async (zip) => {
      const outputs = await unpackWanted({ zip, zipPath, limits }, wanted, staging);
      for (const output of outputs) {
        await mkdir(dirname(join(outDir, output)), { recursive: true });
        await rename(join(staging, output), join(outDir, output));
        await syncFolder(dirname(join(outDir, output)));
      }
      return outputs;
    });
  } catch (cause) {
    throw isDiskError(cause) ? toWriteError(outDir, cause) : cause;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}
