import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Opening a pipe without this waits for a writer. Windows has no such flag, and no such pipes among its files. */
const READ_AT_ONCE = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a file for reading. A folder, pipe, socket or device is refused without a wait: a read of one may never end.
 * @throws the system's error; `code` is `EISDIR` for a folder and `not a regular file` for the others.
 */
export async function openRegularFile(path: string): Promise<FileHandle> {
  const handle = await open(path, READ_AT_ONCE);
  try {
    const found = await handle.stat();
    if (found.isFile()) return handle;
    const code = found.isDirectory() ? 'EISDIR' : 'not a regular file';
    throw Object.assign(new Error(`${path}: ${code === 'EISDIR' ? 'it is a folder' : code}`), { code });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Reads a whole regular file.
 * @throws as `openRegularFile`; what `tooLarge` returns for a file of more than `maxBytes`, of which nothing is read.
 */
export async function readRegularFile(
  path: string,
  maxBytes: number,
  tooLarge: (size: number) => Error,
): Promise<Buffer> {
  await using file = await openRegularFile(path);
  const { size } = await file.stat();
  if (size > maxBytes) throw tooLarge(size);
  return await file.readFile(); // awaited here: the file closes when this returns
}
