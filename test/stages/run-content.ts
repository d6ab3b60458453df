import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import Database from 'libsql';

/** The files and rows that a run leaves, without its clocks: they must be the same however often it was stopped. */
export interface RunContent {
  /** sha256 of every file in `checkpoints/`. */
  readonly checkpoints: Readonly<Record<string, string>>;
  /** Every row of every table, ids included. */
  readonly tables: Readonly<Record<string, readonly unknown[]>>;
  /** Lines of report.json without the run's name, seconds, creation time, and what was made again. */
  readonly report: readonly string[];
}

/**
 * Columns that hold a time of day or a duration; the same run at another hour has others. Events get their numbers in
 * the order of happening, interruptions included.
 */
const CLOCK_COLUMNS: Readonly<Record<string, readonly string[]>> = {
  stage: ['started_ms', 'finished_ms'],
  event: ['id', 'time_ms'],
  cost: ['seconds'],
};
/**
 * Rows that a stop itself leaves: work made again has its own table, and run-wide events say `interrupted`, `resumed`.
 */
const LEFT_BY_STOPS: Readonly<Record<string, string>> = {
  repeated_calls: 'SELECT 1 WHERE 0',
  event: 'SELECT * FROM event WHERE stage_id IS NOT NULL ORDER BY stage_id, update_index, code, message',
};

/** Every row of every table without its clocks. */
export function readTables(databasePath: string): Record<string, unknown[]> {
  const db = new Database(databasePath);
  try {
    const names = db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
      .raw()
      .all() as [string][];
    return Object.fromEntries(
      names.map(([table]) => {
        const rows = db.prepare(LEFT_BY_STOPS[table] ?? `SELECT * FROM ${table}`).all() as object[];
        const clocks = CLOCK_COLUMNS[table] ?? [];
        return [
          table,
          rows.map((row) => Object.fromEntries(Object.entries(row).filter(([column]) => !clocks.includes(column)))),
        ];
      }),
    );
  } finally {
    db.close();
  }
}

const REPORT_CLOCKS = new Set(['seconds', 'createdAt', 'repeatedCost']);

/** The report as JSON lines, so that a difference can be shown. */
function readReport(reportPath: string): string[] {
  const report = JSON.parse(readFileSync(reportPath, 'utf8'), (key, value: unknown) =>
    REPORT_CLOCKS.has(key) ? undefined : value,
  ) as { run: { name?: string; configSha256?: string } };
  delete report.run.name;
  delete report.run.configSha256; // of a config that holds the name
  return JSON.stringify(report, undefined, 1).split('\n');
}

export function readRunContent(runFolder: string): RunContent {
  const folder = path.join(runFolder, 'checkpoints');
  const hash = (file: string) =>
    createHash('sha256')
      .update(readFileSync(path.join(folder, file)))
      .digest('hex');
  return {
    checkpoints: Object.fromEntries(
      readdirSync(folder)
        .sort()
        .map((file) => [file, hash(file)]),
    ),
    tables: readTables(path.join(runFolder, 'run.db')),
    report: readReport(path.join(runFolder, 'report.json')),
  };
}

function rowDifference(table: string, expected: readonly unknown[], found: readonly unknown[]): string[] {
  if (isDeepStrictEqual(expected, found)) return [];
  const at = expected.findIndex((row, i) => !isDeepStrictEqual(row, found[i]));
  const index = at < 0 ? expected.length : at;
  const show = (row: unknown) => JSON.stringify(row)?.slice(0, 300);
  const rows = `${found.length} rows, expected ${expected.length}`;
  return [
    `table ${table} (${rows}) differs at row ${index}: got ${show(found[index])}, expected ${show(expected[index])}`,
  ];
}

/** How `found` differs from `expected`, a line each; empty when it does not. */
export function contentDifferences(expected: RunContent, found: RunContent): string[] {
  const files = new Set([...Object.keys(expected.checkpoints), ...Object.keys(found.checkpoints)]);
  const differences = [...files]
    .filter((file) => expected.checkpoints[file] !== found.checkpoints[file])
    .map((file) => `checkpoint ${file}: got ${found.checkpoints[file]}, expected ${expected.checkpoints[file]}`);
  for (const [table, rows] of Object.entries(expected.tables)) {
    differences.push(...rowDifference(table, rows, found.tables[table] ?? []));
  }
  return [...differences, ...rowDifference('report.json', expected.report, found.report)];
}
