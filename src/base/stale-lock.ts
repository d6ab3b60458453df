import { link, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { toWriteError } from './atomic-file.ts';
import { nowMs } from './clock.ts';

/** Long enough for a take-over: two file operations. */
const WAIT_MS = 20;
/** A claim so old was left by a process that died between those two. */
const CLAIM_LOST_AFTER_MS = 10_000;

/** The lock that a process judged stale. */
export interface StaleLock {
  /** Of its holder, as the lock file names it; no other lock has the same. */
  readonly id: string;
  /** Whether the file at `path` is still that lock, and stale. */
  isStill(path: string): Promise<boolean>;
}

/**
 * Takes a stale lock file out of the way, so that one process can take its place; returns after a short wait where another
 * process is about it. Of the processes that judged the lock stale, one makes the claim: a second name of the lock's file. What it has
 * claimed is judged again, since another may have taken over before, and only while the claim stands is the lock removed.
 * A lock that is not stale is never moved, not even for a moment.
 * @throws FloodgateError `store` when the folder cannot be written.
 */
export async function removeStaleLock(path: string, { id, isStill }: StaleLock): Promise<void> {
  const claim = `${path}.stale-${id}`;
  try {
    await link(path, claim);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return waitForClaim(claim);
    if (code === 'ENOENT') return; // released or taken over just now
    throw toWriteError(path, error);
  }
  try {
    if (await isStill(claim)) await rm(path, { force: true });
  } finally {
    await rm(claim, { force: true });
  }
}

/** Leaves the take-over to the process that began it, unless that one is lost. */
async function waitForClaim(claim: string): Promise<void> {
  // Linking a file sets the time of its last change, not that of its content.
  const made = await stat(claim).catch(() => undefined);
  if (made !== undefined && nowMs() - made.ctimeMs > CLAIM_LOST_AFTER_MS) await rm(claim, { force: true });
  else await sleep(WAIT_MS);
}
