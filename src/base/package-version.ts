import { readFileSync } from 'node:fs';

/** Returns the version in Floodgate's own package.json; the path holds from `src/` and from `dist/` alike. */
export function packageVersion(): string {
  const path = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
  return version;
}
