import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { readBlocks } from '../formats/random-access-file.ts';

/** Read block while hashing, bytes: large enough that hashing, not reading, sets the pace. */
const HASH_BLOCK_BYTES = 1 << 20;

/** sha256 of the file, lower-case hex. @throws `format` when it is missing or no regular file. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const block of readBlocks(path, HASH_BLOCK_BYTES)) hash.update(block);
  return hash.digest('hex');
}

/**
 * SHA-1 that git gives this content (`blob <size>\0` first), lower-case hex. The hub uses it as a small file's ETag.
 */
export async function gitBlobSha1OfFile(path: string): Promise<string> {
  const { size } = await stat(path);
  const hash = createHash('sha1').update(`blob ${size}\0`);
  for await (const block of readBlocks(path, HASH_BLOCK_BYTES)) hash.update(block);
  return hash.digest('hex');
}

/**
 * A stamp that changes whenever the file's content is written, even by a tool that restores the modification time.
 * Equal stamps make it unnecessary to hash gigabytes at every start.
 */
export async function stampOfFile(path: string): Promise<string> {
  const { size, mtimeNs, ctimeNs, ino } = await stat(path, { bigint: true });
  return `${size}-${mtimeNs}-${ctimeNs}-${ino}`;
}
