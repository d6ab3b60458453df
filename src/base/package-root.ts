import { existsSync, readFileSync } from 'node:fs';

/** URL of the nearest folder above this file that holds a package.json: the package, from source or compiled. */
const ROOT = findRoot(new URL('.', import.meta.url));

function findRoot(folder: URL): URL {
  const above = new URL('..', folder);
  return existsSync(new URL('package.json', folder)) || above.href === folder.href ? folder : findRoot(above);
}

/** URL of a file of the package, e.g. `assets/report/page.css`. */
export function packageFile(path: string): URL {
  return new URL(path, ROOT);
}

/**
 * URL of a compiled file of ours that is started by its path, e.g. `view/compare-worker.js`. This module is one folder
 * below the compiled ones, bundled or not.
 */
export function programFile(path: string): URL {
  return new URL(`../${path}`, import.meta.url);
}

/** The version in Floodgate's own package.json. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string };
  return version;
}
