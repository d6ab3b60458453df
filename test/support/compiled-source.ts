import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');

/**
 * Returns a folder with `src/` compiled to JavaScript, for tests that need a process of their own (signals, kills).
 * It lies inside the repository, so that packages resolve; types are not checked, `npm run check` does that.
 */
export function compileSource(): string {
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const outDir = mkdtempSync(join(cache, 'floodgate-test-'));
  writeFileSync(join(outDir, 'package.json'), '{"type":"module"}');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const flags = ['-p', join(root, 'tsconfig.build.json'), '--noCheck', '--declaration', 'false', '--outDir', outDir];
  execFileSync(process.execPath, [tsc, ...flags]);
  return outDir;
}
