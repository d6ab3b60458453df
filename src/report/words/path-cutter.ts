import { homedir } from 'node:os';
import { basename } from 'node:path';

/**
 * A path inside a text: absolute, with at least one folder, or relative from `.` or `..`. It begins at a place where no
 * word and no scheme of an address is before it: `classifier//home/me/clf` holds the path `/home/me/clf`.
 */
const POSIX_PATH = /(?<![\w.~-])(?<!:\/)(?:\.{1,2})?\/(?:[^\s/"'`,;()<>|*]+\/)+[^\s/"'`,;:()<>|*]*/g;
const WINDOWS_PATH = /(?<![A-Za-z])[A-Za-z]:\\(?:[^\\\s"'`,;()<>|*]+\\)*[^\\\s"'`,;()<>|*]*/g;

/** The last part of a path that is not empty. */
export const lastPart = (path: string): string => path.split(/[\\/]/).findLast((part) => part !== '') ?? '';

const longestFirst = (a: string, b: string): number => b.length - a.length;

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** Further folders of a path. */
const FOLDERS = '(?:[^\\s/"\'`,;()<>|*]+/)*';

/** Every folder around a path but the first of them (`/home/`), which says nothing. */
function foldersOf(path: string): string[] {
  const parts = path.split('/');
  return parts.flatMap((_, i) => (i < 3 ? [] : [`${parts.slice(0, i).join('/')}/`]));
}

/** Every string in a value, keys left out. */
export function* stringsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) yield* stringsOf(each);
}

/** Cuts paths to base names: first those that are known, which may hold spaces, then whatever looks like one. */
export function createPathCutter(known: readonly string[]): (text: string) => string {
  const paths = [...new Set(known)].sort(longestFirst);
  const folders = [...new Set([...known.flatMap(foldersOf), ...foldersOf(`${homedir()}/x`)])].sort(longestFirst);
  const below = folders.map((folder) => new RegExp(`${escaped(folder)}${FOLDERS}`, 'g'));
  return (text) => {
    let cut = text;
    for (const path of paths) cut = cut.replaceAll(path, basename(path));
    for (const each of below) cut = cut.replace(each, '');
    return cut.replace(POSIX_PATH, lastPart).replace(WINDOWS_PATH, lastPart);
  };
}

/** Keys whose text tells how somebody asks a model. */
const PROMPTS: ReadonlySet<string> = new Set(['systemPrompt', 'metaPrompt']);

export const LEFT_OUT = 'left out of this copy';

/** A copy of plain data with `cut` applied to every string, and prompts left out. */
export function cutStrings<T>(value: T, cut: (text: string) => string, key = ''): T {
  if (typeof value === 'string') return (PROMPTS.has(key) ? LEFT_OUT : cut(value)) as T;
  if (Array.isArray(value)) return value.map((each) => cutStrings(each, cut, key)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [cut(name), cutStrings(each, cut, name)])) as T;
}
