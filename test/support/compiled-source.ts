import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');

export interface CompiledSource {
  /** Folder that holds what `src/` holds, as JavaScript. */
  readonly folder: string;
  remove(): void;
}

/** Age of a folder that a killed test left behind: no test takes so long. */
const STALE_MS = 24 * 3600 * 1000;

function removeStale(cache: string): void {
  for (const name of readdirSync(cache).filter((each) => each.startsWith('floodgate-test-'))) {
    const path = join(cache, name);
    const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (modified < Date.now() - STALE_MS) rmSync(path, { recursive: true, force: true });
  }
}

/**
 * Returns `src/` compiled to JavaScript, laid out as in the package, for tests that need a process of their own
 * (signals, kills). It lies inside the repository, so that packages resolve; types are left to `npm run check`.
 */
export function compileSource(): CompiledSource {
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  removeStale(cache);
  const place = mkdtempSync(join(cache, 'floodgate-test-'));
  const folder = join(place, 'dist');
  copyFileSync(join(root, 'package.json'), join(place, 'package.json'));
  symlinkSync(join(root, 'assets'), join(place, 'assets'), 'junction');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const flags = ['-p', join(root, 'tsconfig.build.json'), '--noCheck', '--declaration', 'false', '--outDir', folder];
  execFileSync(process.execPath, [tsc, ...flags]);
  return { folder, remove: () => rmSync(place, { recursive: true }) };
}
