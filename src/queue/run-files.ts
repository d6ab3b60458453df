import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toWriteError } from '../base/atomic-file.ts';
import { sha256Of } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { Blobs } from './blobs.ts';
import { type CarriedFile, MAX_FILES_BYTES } from './run-job.ts';

/** Bytes of one piece of a file: at most so much of it is in memory at once. */
const PIECE_BYTES = 2 ** 24;

const lengthOf = (bytes: number, piece: number): number => Math.min(PIECE_BYTES, bytes - piece * PIECE_BYTES);
const countOf = (bytes: number): number => Math.ceil(bytes / PIECE_BYTES);

async function readPiece(handle: FileHandle, piece: number, length: number, path: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (let read = 0; read < length; ) {
    const { bytesRead } = await handle.read(buffer, read, length - read, piece * PIECE_BYTES + read);
    if (bytesRead === 0) throw new FloodgateError('run', `queue: ${path} became shorter while it was read`);
    read += bytesRead;
  }
  return buffer;
}

/**
 * Puts a file into Redis, piece by piece. Pieces that are there are kept. @param name of the file for its reader.
 * @throws FloodgateError `run` for one that is no regular file, or too large.
 */
export async function putFile(blobs: Blobs, path: string, name: string): Promise<CarriedFile> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK); // opening a pipe must not wait
  try {
    const stats = await handle.stat();
    const { size } = stats;
    if (!stats.isFile()) throw new FloodgateError('run', `queue: ${path} is no regular file`);
    if (size > MAX_FILES_BYTES)
      throw new FloodgateError('run', `queue: ${path} has ${size} bytes, expected at most ${MAX_FILES_BYTES}`);
    const pieces: string[] = [];
    for (let piece = 0; piece < countOf(size); piece++)
      pieces.push(await blobs.put(await readPiece(handle, piece, lengthOf(size, piece), path)));
    return { name, bytes: size, pieces };
  } finally {
    await handle.close();
  }
}

/** @throws FloodgateError `run` for files that are too many bytes together. */
function refuseTooLarge(files: readonly CarriedFile[]): void {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes > MAX_FILES_BYTES)
    throw new FloodgateError('run', `queue: files have ${bytes} bytes together, expected at most ${MAX_FILES_BYTES}`);
}

async function fetchFile(blobs: Blobs, { bytes, pieces }: CarriedFile, path: string): Promise<void> {
  const handle = await open(path, 'wx', 0o600);
  try {
    for (const [i, hash] of pieces.entries()) {
      const length = lengthOf(bytes, i);
      const piece = await blobs.get(hash, length);
      if (piece.length !== length) throw new FloodgateError('run', `queue: a piece of ${path} has another length`);
      await handle.writeFile(piece);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Writes files from Redis below a folder, in which none of them is yet. @param isExpected of each name.
 * @throws FloodgateError `run` for a name that is not expected, for one that comes twice, and for bytes that are missing
 * or others; `store` when the disk refuses.
 */
export async function fetchFiles(
  blobs: Blobs,
  files: readonly CarriedFile[],
  folder: string,
  isExpected: (name: string) => boolean,
): Promise<void> {
  refuseTooLarge(files);
  const wrong = files.find(({ name, bytes, pieces }) => !isExpected(name) || pieces.length !== countOf(bytes));
  if (wrong !== undefined) throw new FloodgateError('run', `queue: got the file ${JSON.stringify(wrong.name)}`);
  if (new Set(files.map(({ name }) => name.toLowerCase())).size < files.length)
    throw new FloodgateError('run', 'queue: a file comes twice');
  for (const file of files) {
    const path = join(folder, file.name);
    try {
      await mkdir(dirname(path), { recursive: true });
      await fetchFile(blobs, file, path);
    } catch (error) {
      throw toWriteError(path, error);
    }
  }
}

/** Redis may drop the files. */
export async function forgetFiles(blobs: Blobs, files: readonly CarriedFile[]): Promise<void> {
  for (const piece of new Set(files.flatMap(({ pieces }) => pieces))) await blobs.forget(piece).catch(() => undefined);
}

/** Identity of files: the same for the same names and bytes. */
export const filesDigest = (files: readonly CarriedFile[]): string =>
  sha256Of(JSON.stringify(files.map(({ name, pieces }) => [name, pieces])));

const CHECKPOINTS = 'checkpoints';

/** Files that a finished run has, beside its config. */
export const isRunFile = (name: string): boolean =>
  ['run.db', 'calls.db', 'manifest.json'].includes(name) || name.startsWith(`${CHECKPOINTS}/`);
