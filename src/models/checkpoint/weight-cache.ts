import { copyFile, link, mkdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { partialPathOf, syncFolder, toWriteError } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import { readSafetensorsHeader, writeSafetensorsStreamed } from '../formats/safetensors.ts';
import type { SafetensorsHeader } from '../formats/safetensors-header.ts';
import type { WeightEntry, WeightStore } from '../formats/weight-store.ts';
import { sha256OfFile } from '../sources/file-hash.ts';
import type { WeightFiles } from './weight-files.ts';

/** Part of the cache key: raise it whenever a converted file would come out different. */
const CONVERTER_VERSION = 1;
const SOURCE_KEY = 'floodgate.sourceSha256';

export interface MaterializeOptions {
  /** Folder of the cache; each weight file, converted or linked, lies in a folder of its own below it. */
  readonly cacheDir: string;
  /** sha256 of the source file or files, hex. */
  readonly sha256: string;
  readonly progress: ProgressSink;
}

/** Where the weight file of this source lies; ONNX graphs that use it must lie in the same folder. */
function cachedPath(options: MaterializeOptions): string {
  return join(options.cacheDir, `weights-${options.sha256}-v${CONVERTER_VERSION}`, 'weights.safetensors');
}

async function statOf(path: string) {
  return stat(path).catch(() => undefined);
}

/** Whether `target` already is `source`: one inode, or an earlier copy (a stale link to a changed file is neither). */
async function isInPlace(source: string, target: string, sha256: string): Promise<boolean> {
  const [from, to] = [await stat(source), await statOf(target)];
  if (to === undefined || to.size !== from.size) return false;
  return (to.ino === from.ino && to.dev === from.dev) || (await sha256OfFile(target)) === sha256;
}

/** Links `source` to `target`, or copies it where the file system cannot link; atomic either way. */
async function linkOrCopy(source: string, target: string, sha256: string): Promise<void> {
  if (await isInPlace(source, target, sha256)) return;
  const partial = partialPathOf(target);
  try {
    await mkdir(dirname(target), { recursive: true });
    await link(source, partial).catch(() => copyFile(source, partial));
    await rename(partial, target);
    await syncFolder(dirname(target));
  } catch (error) {
    throw toWriteError(target, error);
  } finally {
    await rm(partial, { force: true }); // rename leaves the name behind when both are links to one file
  }
}

async function headerOf(path: string): Promise<SafetensorsHeader> {
  await using file = await openRandomAccessFile(path);
  return await readSafetensorsHeader(file); // awaited here: the file closes when this returns
}

/** The header of an earlier conversion of just these tensors; undefined when there is none or it is damaged. */
async function findConverted(path: string, files: WeightFiles, sha256: string): Promise<SafetensorsHeader | undefined> {
  const header = await headerOf(path).catch((error: unknown) => {
    if (error instanceof FloodgateError) return undefined;
    throw error;
  });
  if (header === undefined || header.metadata.get(SOURCE_KEY) !== sha256) return undefined;
  const isSame =
    header.tensors.size === files.tensors.length &&
    files.tensors.every(({ name, shape }) => `${header.tensors.get(name)?.shape}` === `${shape}`);
  return isSame ? header : undefined;
}

async function convert(path: string, files: WeightFiles, options: MaterializeOptions): Promise<SafetensorsHeader> {
  const total = files.tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 4), 0);
  const progress = options.progress.start('convert weights to fp32', total, 'bytes');
  const metadata = new Map([
    ['format', 'pt'], // what `transformers` writes and asks for
    [SOURCE_KEY, options.sha256],
    ['floodgate.converterVersion', String(CONVERTER_VERSION)],
  ]);
  await writeSafetensorsStreamed(path, files.tensors, metadata, (bytes) => progress.update(Math.min(bytes, total)));
  progress.finish();
  return headerOf(path);
}

/**
 * Returns one fp32 weight file below `cacheDir` with every tensor of `files`. A file that is plain fp32 already serves as
 * it lies (hard-linked into the cache, or copied where links do not reach); anything else is converted once, tensor by
 * tensor, atomically, and found again by the source's sha256 and the converter's version.
 * @throws `format` when a source is damaged; `store` when the disk refuses.
 */
export async function materializeWeights(files: WeightFiles, options: MaterializeOptions): Promise<WeightStore> {
  const path = cachedPath(options);
  if (files.asItLies !== undefined) {
    await linkOrCopy(await realpath(files.asItLies.path), path, options.sha256); // a link to a symbolic link would stay one
    return { path, tensors: files.asItLies.tensors };
  }
  const header = (await findConverted(path, files, options.sha256)) ?? (await convert(path, files, options));
  const tensors = new Map<string, WeightEntry>();
  for (const [name, { shape, offset, byteLength }] of header.tensors) tensors.set(name, { shape, offset, byteLength });
  return { path, tensors };
}
