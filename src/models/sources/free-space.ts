import { mkdir, statfs } from 'node:fs/promises';
import { FloodgateError } from '../../base/errors.ts';

/** Left free on the disk beside what is pulled, so that a pull never fills a system to the brim. */
const RESERVED_BYTES = 64 * 1024 * 1024;

/** @throws FloodgateError `source` when the disk of `folder` cannot hold `bytes` more. */
export async function ensureFreeSpace(folder: string, bytes: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= bytes + RESERVED_BYTES) return;
  throw new FloodgateError(
    'source',
    `pull into ${folder}: the disk is too full, got ${toMegabytes(free)} MB free, expected ${toMegabytes(bytes + RESERVED_BYTES)} MB`,
    { hint: 'free space, or set FLOODGATE_CACHE to a folder on another disk' },
  );
}

function toMegabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}
