import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { removePartialFiles, toWriteError, writeFileAtomically } from '../../src/base/atomic-file.ts';
import { FloodgateError } from '../../src/base/errors.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-atomic-'));
});

it('makes missing folders and leaves nothing beside the file', async () => {
  const path = join(folder, 'a/b/file.txt');
  await writeFileAtomically(path, (file) => file.writeFile('one'));
  await writeFileAtomically(path, (file) => file.writeFile('two'));
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(readdirSync(join(folder, 'a/b'))).toEqual(['file.txt']);
});

it('leaves the old content when writing fails half-way', async () => {
  const path = join(folder, 'file.txt');
  writeFileSync(path, 'old');
  const failing = writeFileAtomically(path, async (file) => {
    await file.writeFile('half of the n');
    throw Object.assign(new Error('write failed'), { code: 'ENOSPC' });
  });
  await expect(failing).rejects.toThrow(/the disk is full \(ENOSPC\)/);
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(folder)).toEqual(['file.txt']);
});

it('says why a place cannot be written', async () => {
  writeFileSync(join(folder, 'file'), '');
  mkdirSync(join(folder, 'taken'));
  const write = (path: string) => writeFileAtomically(join(folder, path), (file) => file.writeFile('x'));
  await expect(write('file/inside')).rejects.toThrow(/a parent is a file|a file exists where/);
  await expect(write('taken')).rejects.toThrow(/a folder has its name/);
});

it('passes on what is no refusal of the disk', () => {
  const own = new FloodgateError('run', 'mine');
  const other = new TypeError('a fault');
  expect(toWriteError('p', own)).toBe(own);
  expect(toWriteError('p', other)).toBe(other);
});

it('removes what a killed process left half-written, below too when asked', async () => {
  const left = (name: string) => `.${name}.partial-4711-b1e396b6-7cd3-41d4-bedb-8963915dcc32`;
  mkdirSync(join(folder, 'data'));
  for (const name of [left('a.json'), 'a.json', join('data', left('b')), join('data', 'b')]) {
    writeFileSync(join(folder, name), '');
  }
  await removePartialFiles(folder);
  expect(readdirSync(folder).sort()).toEqual(['a.json', 'data']);
  expect(readdirSync(join(folder, 'data'))).toHaveLength(2);
  await removePartialFiles(folder, { recursive: true });
  expect(readdirSync(join(folder, 'data'))).toEqual(['b']);
  await removePartialFiles(join(folder, 'nowhere'));
});

it('removes a folder that a killed process left half-filled', async () => {
  const left = join(folder, '.round-1.partial-4711-4ea947a3-2d12-4c19-b59a-7147e1cfe272');
  mkdirSync(left);
  writeFileSync(join(left, 'manifest.json'), '');
  await removePartialFiles(folder, { recursive: true });
  expect(readdirSync(folder)).toEqual([]);
});
