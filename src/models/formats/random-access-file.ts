import type { FileHandle } from 'node:fs/promises';
import { FloodgateError } from '../../base/errors.ts';
import { openRegularFile } from '../../base/regular-file.ts';

/** A file open for reading at any offset. */
export interface RandomAccessFile extends AsyncDisposable {
  readonly path: string;
  readonly size: number;
  /** Returns exactly `length` bytes from `offset`. @throws `format` when the file ends before. */
  read(offset: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

async function readExactly(handle: FileHandle, path: string, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length); // own ArrayBuffer, 8-byte aligned: a Float32Array may view it
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) {
      throw new FloodgateError(
        'format',
        `read ${path}: file ends early, got ${offset + filled} bytes, expected ${offset + length}`,
      );
    }
    filled += bytesRead;
  }
  return bytes;
}

/** Opens `path` for reading. @throws `format` when it is missing, unreadable or not a regular file. */
export async function openRandomAccessFile(path: string): Promise<RandomAccessFile> {
  let handle: FileHandle;
  try {
    handle = await openRegularFile(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('format', `open ${path}: ${reason}`, { cause });
  }
  const { size } = await handle.stat();
  return {
    path,
    size,
    read: async (offset, length) => {
      if (offset < 0 || length < 0 || offset + length > size) {
        throw new FloodgateError(
          'format',
          `read ${path}: range ${offset}+${length} lies outside the file's ${size} bytes`,
        );
      }
      return readExactly(handle, path, offset, length);
    },
    close: () => handle.close(),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Yields the whole file in blocks of `blockBytes`. @throws as `openRandomAccessFile`. */
export async function* readBlocks(path: string, blockBytes: number): AsyncIterable<Buffer> {
  await using file = await openRandomAccessFile(path);
  for (let at = 0; at < file.size; at += blockBytes) yield await file.read(at, Math.min(blockBytes, file.size - at));
}
