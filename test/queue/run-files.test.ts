import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Of } from '../../src/base/canonical-json.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import type { Blobs } from '../../src/queue/blobs.ts';
import { fetchFiles, forgetFiles, isRunFile, putFile } from '../../src/queue/run-files.ts';
import { type CarriedFile, runJob, runOutcome } from '../../src/queue/run-job.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-run-files-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Bytes in this process (`test/queue/blobs.test.ts` has those in Redis). */
function createBlobs(): Blobs & { readonly held: Map<string, Uint8Array> } {
  const held = new Map<string, Uint8Array>();
  return {
    held,
    put: async (bytes) => {
      held.set(sha256Of(bytes), Uint8Array.from(bytes));
      return sha256Of(bytes);
    },
    get: async (hash, limit) => {
      const bytes = held.get(hash);
      if (bytes === undefined || bytes.length > limit) throw new FloodgateError('run', `no ${hash}`);
      return bytes;
    },
    forget: async (hash) => void held.delete(hash),
  };
}

let count = 0;
async function newFolder(): Promise<string> {
  const made = path.join(folder, `f${count++}`);
  await mkdir(made);
  return made;
}

async function put(blobs: Blobs, name: string, bytes: Uint8Array): Promise<CarriedFile> {
  const file = path.join(await newFolder(), 'file');
  await writeFile(file, bytes);
  return putFile(blobs, file, name);
}

const anyName = (): boolean => true;
/** Two whole pieces and a part of one. */
const LARGE = Uint8Array.from({ length: 2 ** 25 + 5 }, (_, i) => (i * 7) % 253);

describe('files beside a job', () => {
  it.each([
    ['several pieces', LARGE],
    ['one whole piece', LARGE.subarray(0, 2 ** 24)],
    ['no bytes', LARGE.subarray(0, 0)],
  ])('come back: %s', async (_, bytes) => {
    const blobs = createBlobs();
    const file = await put(blobs, 'checkpoints/a.bin', bytes);
    expect(file.pieces.length).toBe(Math.ceil(bytes.length / 2 ** 24));
    const to = await newFolder();
    await fetchFiles(blobs, [file], to, anyName);
    expect(Buffer.compare(await readFile(path.join(to, 'checkpoints', 'a.bin')), bytes)).toBe(0);
    await forgetFiles(blobs, [file]);
    expect(blobs.held.size).toBe(0);
  });

  it('are refused before anything is written: an unexpected name, one that comes twice, wrong counts', async () => {
    const blobs = createBlobs();
    const file = await put(blobs, 'run.db', LARGE.subarray(0, 10));
    const to = await newFolder();
    const refuse = (files: CarriedFile[], why: RegExp) =>
      expect(fetchFiles(blobs, files, to, isRunFile)).rejects.toThrow(why);
    await refuse([file, { ...file, name: 'config.yaml' }], /got the file "config.yaml"/);
    await refuse([file, { ...file, name: 'RUN.DB' }], /got the file "RUN.DB"/);
    await refuse([file, file], /comes twice/);
    await refuse([{ ...file, pieces: [] }], /got the file "run.db"/);
    await refuse(
      [
        { ...file, bytes: 2 ** 32 },
        { ...file, name: 'calls.db' },
      ],
      /bytes together/,
    );
    expect(await readdir(to)).toEqual([]);
  });

  it('are refused where a piece has another length, or is gone', async () => {
    const blobs = createBlobs();
    const file = await put(blobs, 'run.db', LARGE.subarray(0, 10));
    await expect(fetchFiles(blobs, [{ ...file, bytes: 11 }], await newFolder(), anyName)).rejects.toThrow(
      /another length/,
    );
    await expect(fetchFiles(blobs, [{ ...file, bytes: 9 }], await newFolder(), anyName)).rejects.toThrow(/no /);
    await forgetFiles(blobs, [file]);
    await expect(fetchFiles(blobs, [file], await newFolder(), anyName)).rejects.toThrow(/no /);
  });

  it('are never written through a link that is there', async () => {
    const blobs = createBlobs();
    const file = await put(blobs, 'run.db', LARGE.subarray(0, 10));
    const to = await newFolder();
    const outside = path.join(folder, 'outside');
    await symlink(outside, path.join(to, 'run.db'));
    await expect(fetchFiles(blobs, [file], to, anyName)).rejects.toMatchObject({ code: 'store' });
    expect(await readdir(folder)).not.toContain('outside');
  });

  it('are not read from a folder or a device', async () => {
    const blobs = createBlobs();
    await expect(putFile(blobs, '/dev/zero', 'x')).rejects.toThrow(/no regular file/);
    await expect(putFile(blobs, folder, 'x')).rejects.toThrow(/no regular file|EISDIR/);
  });

  it.each(['../run.db', '/etc/passwd', 'a/../b', 'checkpoints/../run.db', 'checkpoints//x', '.hidden', '', 'a\0b'])(
    'have no name such as %j',
    (name) => {
      const file = { name, bytes: 0, pieces: [] };
      expect(runOutcome.safeParse({ kind: 'ran', files: [file] }).success).toBe(false);
      expect(runJob.safeParse({ kind: 'run', config: {}, seeds: [file], model: [] }).success).toBe(false);
    },
  );
});
