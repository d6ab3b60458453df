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
const BUNDLE = join(root, 'scripts/bundle.mjs');

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

/** A new folder inside the repository, so that packages resolve, with what is beside `dist/` in the package. */
function newPlace(): CompiledSource {
  mkdirSync(cache, { recursive: true });
  removeStale();
  const place = mkdtempSync(join(cache, 'floodgate-test-'));
  copyFileSync(join(root, 'package.json'), join(place, 'package.json'));
  symlinkSync(join(root, 'assets'), join(place, 'assets'), 'junction');
  return { folder: join(place, 'dist'), remove: () => rmSync(place, { recursive: true }) };
}

/**
 * Returns `src/` compiled to JavaScript, laid out as in the package, for tests that write beside it or open single
 * modules. Types are left to `npm run check`.
 */
export function compileSource(): CompiledSource {
  const place = newPlace();
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const flags = ['--noCheck', '--emitDeclarationOnly', 'false', '--declaration', 'false', '--outDir', place.folder];
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), ...flags]);
  return place;
}

/** Returns the programs as `npm run build:programs` makes them. */
export function bundlePrograms(): CompiledSource {
  const place = newPlace();
  execFileSync(process.execPath, [BUNDLE, place.folder]);
  return place;
}

/** SHA-256 of all that the program is made of. */
function sourcesHash(): string {
  const source = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const others = ['package.json', 'package-lock.json', 'tsconfig.json', 'scripts/bundle.mjs'];
  const hash = createHash('sha256').update(root); // whose assets it uses
  for (const file of [...source.sort().map((each) => join('src', each)), ...others])
    hash.update(`${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest('hex').slice(0, 24);
}

/** @returns the folder that holds the build of these sources. It is made where it is missing. */
function buildOnce(): string {
  const hash = sourcesHash();
  const place = join(cache, `floodgate-test-built-${hash}`);
  if (!existsSync(place)) {
    const { folder, remove } = bundlePrograms();
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
 * Returns the folder of the program as `npm run build:programs` makes it, for tests that start processes of it: such a process
 * starts in half the time. It is made once for the same sources, whichever test asks first. Nothing may be written there.
 */
export function builtProgram(): string {
  built ??= buildOnce();
  return built;
}
