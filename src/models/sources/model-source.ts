import { mkdir, statfs } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { FloodgateError } from '../../base/errors.ts';
import type { PullRecord } from './model-cache.ts';
import type { SourceSettings } from './source-environment.ts';

/** Everything that a source needs to fetch one model. */
export interface FetchRequest {
  /** Canonical text of the spec. */
  readonly specText: string;
  readonly settings: SourceSettings;
  /** Finished files go here, under their names inside the model. */
  readonly outFolder: string;
  /** Unfinished work. It is kept when the fetch fails, so that the next fetch resumes. */
  readonly scratchFolder: string;
  /** Record of the first pull of this spec, if any: a later pull must fetch the same files. */
  readonly record: PullRecord | undefined;
}

/** Space that stays free on the disk, so that a pull never fills it completely. */
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

/** The error of a pull that was stopped; `hint` says how to resume. */
export function interruptedError(operation: string, hint = 'run the same command again to resume'): FloodgateError {
  return new FloodgateError('interrupted', `${operation}: stopped`, { hint });
}

/** @throws FloodgateError `interrupted` when the signal is raised. */
export function throwIfInterrupted(signal: AbortSignal | undefined, operation: string): void {
  if (signal?.aborted) throw interruptedError(operation);
}

/** Waits `ms`. @throws FloodgateError `interrupted` as soon as the signal is raised. */
export async function waitUnlessInterrupted(
  ms: number,
  signal: AbortSignal | undefined,
  operation: string,
): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    throwIfInterrupted(signal, operation);
    throw cause;
  }
}
