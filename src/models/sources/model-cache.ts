import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { sha256OfFile, stampOfFile } from './file-hash.ts';
import { isSafeFileName, joinInside } from './file-name.ts';

/** Written last: a model folder without it is an unfinished pull. */
export const MANIFEST_NAME = 'floodgate-model.json';

const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);

const fileRecord = z.object({
  name: z.string().refine((name) => isSafeFileName(name) && name !== MANIFEST_NAME, 'not a safe file name'),
  sha256: SHA256,
  bytes: z.int().nonnegative(),
});

const manifestSchema = z.object({
  schemaVersion: z.literal(1),
  spec: z.string(),
  /** Hub commit, or sha256 of the wheel: identifies the fetched content. */
  origin: z.string(),
  files: z.array(fileRecord).min(1).max(1000),
  /** `stampOfFile` of each file, in order, at the last time its sha256 was correct. */
  stamps: z.array(z.string()),
});

/** One file of a model: sha256 in lower-case hex, size in bytes. */
export type ModelFile = z.infer<typeof fileRecord>;
export type ModelManifest = z.infer<typeof manifestSchema>;

/** Record of the first pull. It outlives the removal of the model, so that a later pull must fetch the same files. */
const recordSchema = manifestSchema.pick({ spec: true, origin: true, files: true });
export type PullRecord = z.infer<typeof recordSchema>;

/** Paths of one spec in the cache. Every path is inside `cacheDir`. */
export interface CacheSlot {
  readonly key: string;
  /** The finished model. */
  readonly folder: string;
  /** Unfinished downloads, kept for resuming. */
  readonly partialFolder: string;
  readonly recordPath: string;
  readonly lockPath: string;
}

/**
 * Returns the slot of a spec. The readable part is for people; the digest distinguishes `A` from `a` on every file
 * system.
 */
export function cacheSlotOf(cacheDir: string, specText: string): CacheSlot {
  const digest = createHash('sha256').update(specText).digest('hex').slice(0, 12);
  const readable = specText.replace(/[^A-Za-z0-9._-]+/g, '--').slice(0, 100);
  const key = `${readable}--${digest}`;
  return {
    key,
    folder: join(cacheDir, 'models', key),
    partialFolder: join(cacheDir, 'partial', key),
    recordPath: join(cacheDir, 'records', `${key}.json`),
    lockPath: join(cacheDir, 'locks', `${key}.lock`),
  };
}

/** The manifest of a finished model folder, or undefined when there is none. @throws `source` when it is damaged. */
export async function readManifest(folder: string): Promise<ModelManifest | undefined> {
  return readJson(join(folder, MANIFEST_NAME), manifestSchema);
}

export async function readPullRecord(slot: CacheSlot): Promise<PullRecord | undefined> {
  return readJson(slot.recordPath, recordSchema);
}

export async function writePullRecord(slot: CacheSlot, record: PullRecord): Promise<void> {
  await writeJson(slot.recordPath, recordSchema.parse(record));
}

/** Writes the manifest of a folder whose files have just been verified. */
export async function writeManifest(folder: string, record: PullRecord): Promise<ModelManifest> {
  const stamps = await Promise.all(record.files.map((file) => stampOfFile(joinInside(folder, file.name))));
  const manifest: ModelManifest = { schemaVersion: 1, ...record, stamps };
  await writeJson(join(folder, MANIFEST_NAME), manifest);
  return manifest;
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined;
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FloodgateError('source', `read ${path}: it is damaged, expected a record written by Floodgate`, {
      cause,
      hint: 'floodgate models rm SPEC --forget, then floodgate models pull SPEC',
    });
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomically(path, async (handle) => {
    await handle.writeFile(`${JSON.stringify(value, undefined, 2)}\n`);
  });
}

/** A file that differs from the manifest. */
export interface FileFault {
  readonly name: string;
  readonly fault: string;
}

export interface VerifyOptions {
  /** Hash every file, even those whose stamp has not changed since they were last hashed. */
  readonly isThorough: boolean;
}

/**
 * Returns the files of `folder` that are missing or changed; empty when the model is complete. Remembers new stamps.
 */
export async function findFaults(
  folder: string,
  manifest: ModelManifest,
  options: VerifyOptions,
): Promise<readonly FileFault[]> {
  const faults: FileFault[] = [];
  let haveStampsMoved = false;
  for (const [index, file] of manifest.files.entries()) {
    const path = joinInside(folder, file.name);
    const stamp = await stampOfFile(path).catch(() => undefined);
    if (stamp === undefined) {
      faults.push({ name: file.name, fault: 'missing' });
      continue;
    }
    const isKnown = stamp === manifest.stamps[index];
    if (isKnown && !options.isThorough) continue;
    const fault = await faultOfFile(path, file);
    if (fault !== undefined) faults.push({ name: file.name, fault });
    haveStampsMoved ||= !isKnown;
  }
  if (faults.length === 0 && haveStampsMoved) await writeManifest(folder, manifest).catch(() => undefined); // read-only cache: hash again next time
  return faults;
}

/** Describes how the file at `path` differs from `expected`, or returns undefined when it matches. */
export async function faultOfFile(path: string, expected: ModelFile): Promise<string | undefined> {
  const { size } = await stat(path);
  if (size !== expected.bytes) return `size differs, got ${size} bytes, expected ${expected.bytes}`;
  const sha256 = await sha256OfFile(path);
  return sha256 === expected.sha256 ? undefined : `sha256 differs, got ${sha256}, expected ${expected.sha256}`;
}

/** Lists every finished model of the cache with its folder; leaves out damaged or foreign folders. */
export async function listCachedModels(
  cacheDir: string,
): Promise<readonly { manifest: ModelManifest; folder: string }[]> {
  const root = join(cacheDir, 'models');
  const names = await readdir(root).catch(() => []);
  const found: { manifest: ModelManifest; folder: string }[] = [];
  for (const name of names.sort()) {
    const folder = join(root, name);
    const manifest = await readManifest(folder).catch(() => undefined);
    if (manifest !== undefined) found.push({ manifest, folder });
  }
  return found;
}

/**
 * Removes a model and its unfinished downloads; with `isForgetting` also the record of its first pull.
 * Returns whether there was anything to remove.
 */
export async function removeSlot(slot: CacheSlot, isForgetting: boolean): Promise<boolean> {
  const paths = [slot.folder, slot.partialFolder, ...(isForgetting ? [slot.recordPath] : [])];
  let hasRemoved = false;
  for (const path of paths) {
    const exists = await stat(path).then(
      () => true,
      () => false,
    );
    hasRemoved ||= exists;
    await rm(path, { recursive: true, force: true });
  }
  return hasRemoved;
}
