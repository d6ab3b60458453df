import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const cache = join(root, 'node_modules/.cache');

export interface CompiledSource {
  /** Folder that holds what `src/` holds, as JavaScript. */
  readonly folder: string;
  remove(): void;
}

/** Age of a folder that a killed test left behind: no test takes so long. */
const STALE_MS = 24 * 3600 * 1000;

function removeStale(): void {
  for (const name of readdirSync(cache).filter((each) => each.startsWith('floodgate-test-'))) {
    const path = join(cache, name);
    const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (modified < Date.now() - STALE_MS) rmSync(path, { recursive: true, force: true });
  }
}

/**
 * Returns `src/` compiled to JavaScript, laid out as in the package, for tests that write beside it or open single
 * modules. It lies inside the repository, so that packages resolve; types are left to `npm run check`.
 */
export function compileSource(): CompiledSource {
  mkdirSync(cache, { recursive: true });
  removeStale();
  const place = mkdtempSync(join(cache, 'floodgate-test-'));
  const folder = join(place, 'dist');
  copyFileSync(join(root, 'package.json'), join(place, 'package.json'));
  symlinkSync(join(root, 'assets'), join(place, 'assets'), 'junction');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const flags = ['-p', join(root, 'tsconfig.build.json'), '--noCheck', '--declaration', 'false', '--outDir', folder];
  execFileSync(process.execPath, [tsc, ...flags]);
  return { folder, remove: () => rmSync(place, { recursive: true }) };
}

const BUNDLE = join(root, 'scripts/bundle.mjs');

/** SHA-256 of all that the program is made of. */
function sourcesHash(): string {
  const source = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const others = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];
  const hash = createHash('sha256').update(root); // whose assets it uses
  for (const file of [...source.sort().map((each) => join('src', each)), ...others])
    hash.update(`${file}\0`).update(readFileSync(join(root, file)));
  return hash.update(readFileSync(BUNDLE)).digest('hex').slice(0, 24);
}

/** @returns the folder that holds the build of these sources. It is made where it is missing. */
function buildOnce(): string {
  const hash = sourcesHash();
  const place = join(cache, `floodgate-test-built-${hash}`);
  if (!existsSync(place)) {
    const { folder, remove } = compileSource();
    execFileSync(process.execPath, [BUNDLE, folder]);
    if (sourcesHash() !== hash) {
      remove();
      return buildOnce(); // somebody writes code meanwhile
    }
    const made = resolve(folder, '..');
    chmodSync(made, 0o755); // some tests start a process as another user
    try {
      renameSync(made, place);
    } catch (error) {
      if (!existsSync(place)) throw error;
      remove(); // another test was faster
    }
  }
  utimesSync(place, new Date(), new Date());
  return join(place, 'dist');
}

let built: string | undefined;

/**
 * Returns the folder of the program as `npm run build` makes it, for tests that start processes of it: such a process
 * starts in half the time. It is made once for the same sources, whichever test asks first. Nothing may be written there.
 */
export function builtProgram(): string {
  built ??= buildOnce();
  return built;
}
