import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { createManifest, MANIFEST_VERSION, readManifest, writeManifest } from '../../src/runs/manifest.ts';

const folder = mkdtempSync(join(tmpdir(), 'floodgate-manifest-'));
const path = join(folder, 'manifest.json');
afterAll(() => rmSync(folder, { recursive: true }));

const manifest = createManifest({
  createdMs: Date.UTC(2025, 0, 2),
  run: 'a-run',
  authorisation: 'a model of this test',
  versions: { floodgate: '0.1.0' },
  seed: 3,
  threads: 1,
  devices: { target: 'cpu' },
  configSha256: 'c',
  seedsSha256: 's',
  models: [{ role: 'attacker', spec: 'm', sha256: 'w' }],
  judges: { training: 'j', evaluation: ['k'] },
  decode: { training: { temperature: 1 }, evaluation: { temperature: 0 } },
  unsafeFloor: 1e-6,
});

it('is read as it was written', async () => {
  await writeManifest(path, manifest);
  expect(await readManifest(path)).toEqual(manifest);
  expect(manifest).toMatchObject({ manifestVersion: MANIFEST_VERSION, createdAt: '2025-01-02T00:00:00.000Z' });
});

it.each([
  [{ floodgate: '0.0.9' }, 'floodgate 0.0.9', 'use floodgate 0.0.9 for it'],
  [{ node: '20' }, 'another version', 'use that version for it'],
])(
  'of another version is refused with the version that wrote it and the remedy: %o',
  async (versions, writer, remedy) => {
    writeFileSync(path, JSON.stringify({ ...manifest, manifestVersion: 1, versions }));
    await expect(readManifest(path)).rejects.toMatchObject({
      code: 'run',
      message: expect.stringContaining(`the run was written by ${writer}`),
      hint: `${remedy}, or start the run again`,
    });
  },
);

it.each([
  ['no JSON', '{'],
  ['no manifest', '[]'],
  ['a missing key', JSON.stringify({ ...manifest, seed: undefined })],
  ['far too long', JSON.stringify(manifest) + ' '.repeat(4 * 1024 * 1024)],
])('that is damaged is refused with its path: %s', async (_name, text) => {
  writeFileSync(path, text);
  await expect(readManifest(path)).rejects.toMatchObject({
    code: 'run',
    message: expect.stringContaining(`read manifest ${path}: `),
  });
});
