import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { readTables } from '../../test/stages/run-content.ts';

/** All that a run or a study leaves in its folder, without clocks: lines by the name of their file. */
export type FolderContent = Readonly<Record<string, readonly string[]>>;

/** Left by a process that works or was killed, and the page, which shows what `report.json` holds. */
const PASSING = /^(?:lock(?:\..+)?|run\.db-(?:wal|shm)|report\.html)$/;
/** Times of day, durations, and what was made again. */
const CLOCKS = new Set(['seconds', 'createdAt', 'repeatedCost']);

function linesOf(file: string): string[] {
  if (path.basename(file) === 'run.db')
    return Object.entries(readTables(file)).flatMap(([table, rows]) =>
      rows.map((row) => `${table} ${JSON.stringify(row, (key, value) => (CLOCKS.has(key) ? undefined : value))}`),
    );
  const bytes = readFileSync(file);
  if (!file.endsWith('.json')) return [createHash('sha256').update(bytes).digest('hex')];
  const json: unknown = JSON.parse(bytes.toString('utf8'), (key, value: unknown) =>
    CLOCKS.has(key) ? undefined : value,
  );
  return JSON.stringify(json, undefined, 1).split('\n');
}

export function readFolderContent(folder: string): FolderContent {
  const files = (readdirSync(folder, { recursive: true, encoding: 'utf8' }) as string[])
    .filter((name) => !PASSING.test(path.basename(name)) && statSync(path.join(folder, name)).isFile())
    .sort();
  return Object.fromEntries(files.map((name) => [name, linesOf(path.join(folder, name))]));
}

/** How `found` differs from `expected`, a line for each file. */
export function folderDifferences(expected: FolderContent, found: FolderContent): string[] {
  const names = [...new Set([...Object.keys(expected), ...Object.keys(found)])];
  return names.flatMap((name) => {
    const [wanted, got] = [expected[name], found[name]];
    if (wanted === undefined || got === undefined) return [`${name}: ${got === undefined ? 'missing' : 'too much'}`];
    const at = wanted.length === got.length ? wanted.findIndex((line, i) => line !== got[i]) : firstOther(wanted, got);
    if (at < 0) return [];
    const show = (lines: readonly string[]): string => (lines[at] ?? '(end)').slice(0, 300);
    return [`${name} line ${at}: got ${show(got)}, expected ${show(wanted)}`];
  });
}

function firstOther(a: readonly string[], b: readonly string[]): number {
  const at = a.findIndex((line, i) => line !== b[i]);
  return at < 0 ? a.length : at;
}
