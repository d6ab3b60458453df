import { constants, copyFile, link, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { partialPathOf, syncFolder, toWriteError } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import { readSafetensorsHeader, type StreamedTensor, writeSafetensorsStreamed } from '../formats/safetensors.ts';
import type { SafetensorsHeader } from '../formats/safetensors-header.ts';
import type { WeightEntry, WeightStore } from '../formats/weight-store.ts';
import { checkFinite, withFiniteCheck } from './finite-weights.ts';
import { isAsRecorded, recordWeights } from './weight-record.ts';

/** The weights of one model in its own files, under normalised names, before they become one fp32 file. */
export interface WeightFiles {
  /** Every weight of the model, in file order. Nothing is read before `pieces` is called. */
  readonly tensors: readonly StreamedTensor[];
  /** The file that already holds every tensor as plain fp32, if any: it serves without conversion. */
  readonly plainFp32: { readonly path: string; readonly tensors: ReadonlyMap<string, WeightEntry> } | undefined;
}

/** Bytes of a source file that are converted at a time: a tensor need not fit in memory. */
export const PIECE_BYTES = 4 * 1024 * 1024;

/** Part of the cache key: raise it whenever a converted file would come out different. */
const CONVERTER_VERSION = 1;
const SOURCE_KEY = 'floodgate.sourceSha256';

/** Options for opening a model, besides its path. */
export interface OpenOptions {
  /** Folder of the model cache. Each weight file, converted or linked, has a folder of its own below it. */
  readonly cacheDir: string;
  readonly progress: ProgressSink;
}

export interface MaterializeOptions extends OpenOptions {
  /** sha256 of the source file or files, hex. */
  readonly sha256: string;
}

/** Path of this source's weight file; ONNX graphs that use it must be in the same folder. */
function cachedPath(options: MaterializeOptions): string {
  return join(options.cacheDir, `weights-${options.sha256}-v${CONVERTER_VERSION}`, 'weights.safetensors');
}

/** Whether a file is one of the model cache's own. Those are replaced as a whole, never rewritten in place. */
async function isInCache(source: string, cacheDir: string): Promise<boolean> {
  const inside = relative(await realpath(cacheDir), source);
  return !isAbsolute(inside) && inside.split(sep)[0] !== '..';
}

/** Whether `target` already holds `source` in the wanted way: as a link to it, or as an unchanged copy. */
async function isInPlace(source: string, target: string, { isLinked, sha256 }: CopyOptions): Promise<boolean> {
  const [from, to] = [await stat(source), await stat(target).catch(() => undefined)];
  if (to === undefined || to.size !== from.size) return false;
  const isLink = to.ino === from.ino && to.dev === from.dev;
  return isLink === isLinked && (await isAsRecorded(target, sha256));
}

interface CopyOptions {
  /** Whether a hard link will do. Where links are impossible it is a copy. */
  readonly isLinked: boolean;
  /** sha256 of the source. */
  readonly sha256: string;
}

async function copyOf(source: string, target: string): Promise<void> {
  await copyFile(source, target, constants.COPYFILE_FICLONE);
  await using handle = await open(target, 'r+');
  await handle.sync();
}

/** Links or copies `source` to `target`, atomically. */
async function linkOrCopy(source: string, target: string, { isLinked }: CopyOptions): Promise<void> {
  const partial = partialPathOf(target);
  try {
    await mkdir(dirname(target), { recursive: true });
    if (isLinked) await link(source, partial).catch(() => copyOf(source, partial));
    else await copyOf(source, partial);
    await rename(partial, target);
    await syncFolder(dirname(target));
  } catch (error) {
    throw toWriteError(target, error);
  } finally {
    await rm(partial, { force: true }); // rename leaves the name behind when both are links to one file
  }
}

/**
 * Puts a plain fp32 file into the cache. A file of the cache is linked. Any other is copied, or cloned where the file
 * system can: sessions map the file, and the tool that made it may rewrite it in place while they run.
 */
async function takePlainFile(path: string, files: WeightFiles, options: MaterializeOptions): Promise<void> {
  const target = cachedPath(options);
  await mkdir(options.cacheDir, { recursive: true });
  const source = await realpath(path); // a link to a symbolic link would stay one
  const how = { isLinked: await isInCache(source, options.cacheDir), sha256: options.sha256 };
  if (await isInPlace(source, target, how)) return;
  await checkFinite(files.tensors);
  await linkOrCopy(source, target, how);
  await recordWeights(target);
}

async function headerOf(path: string): Promise<SafetensorsHeader> {
  await using file = await openRandomAccessFile(path);
  return await readSafetensorsHeader(file); // awaited here: the file closes when this returns
}

/** Returns the header of an earlier conversion of the same tensors; undefined when there is none or it was changed. */
async function findConverted(path: string, files: WeightFiles, sha256: string): Promise<SafetensorsHeader | undefined> {
  if (!(await isAsRecorded(path))) return undefined;
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
  const tensors = files.tensors.map(withFiniteCheck);
  await writeSafetensorsStreamed(path, tensors, metadata, (bytes) => progress.update(Math.min(bytes, total)));
  await recordWeights(path);
  progress.finish();
  return headerOf(path);
}

/**
 * Returns one fp32 weight file below `cacheDir` with every tensor of `files`. A file that is plain fp32 already is
 * linked or copied there. Any other source is converted once, tensor by tensor and atomically. The source's sha256 and
 * the converter's version identify the result, whose content is checked against a record.
 * @throws `format` when a source is damaged or holds a weight that is no number; `store` when the disk refuses.
 */
export async function materializeWeights(files: WeightFiles, options: MaterializeOptions): Promise<WeightStore> {
  const path = cachedPath(options);
  if (files.plainFp32 !== undefined) {
    await takePlainFile(files.plainFp32.path, files, options);
    return { path, tensors: files.plainFp32.tensors };
  }
  const header = (await findConverted(path, files, options.sha256)) ?? (await convert(path, files, options));
  const tensors = new Map<string, WeightEntry>();
  for (const [name, { shape, offset, byteLength }] of header.tensors) tensors.set(name, { shape, offset, byteLength });
  return { path, tensors };
}
