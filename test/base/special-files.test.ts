import { execFileSync } from 'node:child_process';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openRegularFile } from '../../src/base/regular-file.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { sha256OfFile } from '../../src/models/sources/file-hash.ts';
import { readLocalModel } from '../../src/models/sources/resolve-model.ts';
import { readConfigText } from '../../src/runs/config/config-file.ts';
import { loadSeeds } from '../../src/stages/config/seeds.ts';
import { loadTransferTargets } from '../../src/studies/transfer/transfer-config.ts';
import { testPath } from '../support/golden-file.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-special-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A file that ends never: a pipe that nobody writes to, or a device. */
async function makeSpecial(kind: string, path: string): Promise<void> {
  if (kind === 'pipe') execFileSync('mkfifo', [path]);
  else await symlink(kind, path);
}

const READERS: readonly (readonly [string, string, (path: string) => Promise<unknown>])[] = [
  ['seeds', 'config', (path) => loadSeeds({ path, format: 'auto' } as Parameters<typeof loadSeeds>[0])],
  ['a config', 'config', readConfigText],
  ['a list of targets', 'config', (path) => loadTransferTargets([path])],
  ['the hash', 'format', sha256OfFile],
];

test.each(READERS.flatMap((reader) => ['pipe', '/dev/zero'].map((kind) => [...reader, kind] as const)))(
  '%s: refused with code %s, not read for ever: %s %s',
  async (_what, code, read, kind) => {
    const path = join(folder, 'special.yaml');
    await makeSpecial(kind, path);
    await expect(read(path)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/not a regular file/),
    });
  },
);

test.each(
  ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'].flatMap(
    (name) => ['pipe', '/dev/zero'].map((kind) => [name, kind] as const),
  ),
)('a model folder whose %s is %s is refused', async (name, kind) => {
  const model = join(folder, 'model');
  await cp(testPath('fixtures', 'models', 'llama-tied'), model, { recursive: true });
  await rm(join(model, name), { force: true });
  await makeSpecial(kind, join(model, name));
  const refusal = { code: 'format', message: expect.stringMatching(/not a regular file/) };
  await expect(openCheckpoint(model, { cacheDir: join(folder, 'cache') })).rejects.toMatchObject(refusal);
  // A pipe is no file of the folder; what a link points to is seen when it is opened.
  if (kind !== 'pipe') await expect(readLocalModel(model)).rejects.toMatchObject(refusal);
});

test('a link to a regular file is one, and a folder is none', async () => {
  await writeFile(join(folder, 'file'), 'text');
  await symlink('file', join(folder, 'link'));
  await using file = await openRegularFile(join(folder, 'link'));
  expect((await file.readFile()).toString()).toBe('text');
  await expect(openRegularFile(folder)).rejects.toMatchObject({ code: 'EISDIR' });
});
