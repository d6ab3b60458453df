import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const root = resolve(import.meta.dirname, '..');
const read = (name: string): string => readFileSync(join(root, name), 'utf8');

const lockFile = z
  .object({ packages: z.record(z.string(), z.object({ version: z.string(), integrity: z.string().optional() })) })
  .parse(JSON.parse(read('package-lock.json')));
const locked = Object.entries(lockFile.packages).filter(([path]) => path !== '');

describe('the packages that npm ci installs', () => {
  it('are pinned by the hash of their bytes', () => {
    expect(locked.length).toBeGreaterThan(100);
    const unhashed = locked.filter(([, { integrity }]) => !/^sha512-[\w+/]{86}==$/.test(integrity ?? ''));
    expect(unhashed.map(([path]) => path)).toEqual([]);
  });
});
