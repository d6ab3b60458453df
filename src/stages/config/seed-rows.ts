import { extname } from 'node:path';
import { CsvError, parse as parseCsv } from 'csv-parse/sync';
import { FloodgateError } from '../../base/errors.ts';
import { nearestName } from '../../base/nearest-name.ts';
import type { Config } from './config.ts';

/** Stops one broken quote in a CSV from making the rest of the file one attack. */
export const MAX_SEED_CHARACTERS = 10_000;
/** Column names that need not be named in the config. */
const USUAL_COLUMNS = ['attack', 'prompt', 'text', 'goal', 'instruction', 'question'];
/** Columns that say which cell a seed is of, where the config names none. */
const CELL_COLUMNS = ['cell', 'category'];

export const FORMATS_HINT = 'seeds.path names a text file with one attack a line, a CSV or a JSONL or TSV file';

/** A longer name of a column is rather an attack, the first of a file without a header. */
const MAX_COLUMN_NAME = 40;
/** Separators of columns; tried in this order on a header that names a usual column. */
const SEPARATORS = [',', ';', '\t'] as const;

export type SeedFormat = 'csv' | 'tsv' | 'jsonl' | 'text';

/** Section `seeds`, and whether its attacks are of cells. */
export type SeedOptions = Config['seeds'] & { readonly hasCells?: boolean };

/** An attack of a file, and the cell that the file gives it. */
export interface SeedRow {
  readonly value: unknown;
  readonly cell?: unknown;
}

export interface Rows {
  /** Yielded one at a time, so that repeated and empty values are not kept in memory. */
  readonly rows: Iterable<SeedRow>;
  readonly column: string | undefined;
  /** The column of the cells, where there is one. */
  readonly cellColumn?: string | undefined;
}

/** Characters of an attack or a name that a message shows. */
const SHOWN_CHARACTERS = 60;

export function shortened(text: string): string {
  const characters = [...text.trim()];
  return characters.length <= SHOWN_CHARACTERS
    ? characters.join('')
    : `${characters.slice(0, SHOWN_CHARACTERS).join('')}…`;
}

export function refuse(path: string, what: string, hint?: string): never {
  throw new FloodgateError('config', `seeds ${path}: ${what}`, hint === undefined ? {} : { hint });
}

export function formatOf({ path, format }: SeedOptions): SeedFormat {
  if (format !== 'auto') return format;
  switch (extname(path).toLowerCase()) {
    case '.csv':
      return 'csv';
    case '.tsv':
    case '.tab':
      return 'tsv';
    case '.jsonl':
    case '.ndjson':
      return 'jsonl';
    case '.json':
      return refuse(
        path,
        'got a JSON file, expected CSV, TSV, JSONL (one JSON value a line) or text',
        'jq -c ".[]" makes JSONL',
      );
    default:
      return 'text';
  }
}

/** The column to read: the one asked for, the only one, or the first with a usual name. */
function chooseColumn({ path, column }: SeedOptions, names: readonly string[], cellColumn: string | undefined): string {
  if (column !== undefined) {
    if (names.includes(column)) return column;
    const near = nearestName(column, names);
    const advice = near === undefined ? '' : `, did you mean ${near}?`;
    return refuse(path, `got column ${column}, expected one of ${names.join(', ')}${advice}`, 'seeds.column names it');
  }
  const others = names.filter((name) => name !== cellColumn);
  const usual = others.find((name) => USUAL_COLUMNS.includes(name.trim().toLowerCase()));
  const chosen = others.length === 1 ? others[0] : usual;
  if (chosen !== undefined) return chosen;
  const what = `has several columns: ${names.map(shortened).join(', ')}`;
  return refuse(path, what, `seeds.column says which holds the attacks; ${HEADER_HINT}`);
}

/** The column of the cells: the one asked for, or one that is named after them; undefined where there are no cells. */
function chooseCellColumn({ path, cellColumn, hasCells }: SeedOptions, names: readonly string[]): string | undefined {
  if (hasCells !== true) return undefined;
  if (cellColumn === undefined) return names.find((name) => CELL_COLUMNS.includes(name.trim().toLowerCase()));
  if (names.includes(cellColumn)) return cellColumn;
  return refuse(path, `got column ${cellColumn}, expected one of ${names.join(', ')}`, 'seeds.cellColumn names it');
}

const HEADER_HINT = 'a file without a header needs one as its first line, such as: attack';

/** Refuses a table whose first row reads like an attack: it would be taken for the header, and lost. */
function requireHeader({ path, column }: SeedOptions, [name, ...others]: readonly string[]): void {
  if (name === undefined || others.length > 0 || column !== undefined) return;
  const text = name.trim();
  const isName = text.length <= MAX_COLUMN_NAME && !/[\s.?!]/u.test(text);
  if (isName || USUAL_COLUMNS.includes(text.toLowerCase())) return;
  const named = `seeds.column: ${JSON.stringify(shortened(name))} says that it is one`;
  refuse(
    path,
    `its first row reads like an attack, got ${JSON.stringify(shortened(name))}, expected a header`,
    `${HEADER_HINT}; ${named}`,
  );
}

/** The separator of the columns: a comma, unless the header only names a known column with another one. */
function separatorOf(text: string, { column }: SeedOptions): string {
  const header = text.slice(0, text.search(/[\r\n]|$/));
  const isKnown = (name: string): boolean =>
    name === column || (column === undefined && USUAL_COLUMNS.includes(name.toLowerCase()));
  const names = (separator: string) => header.split(separator).map((name) => name.trim().replace(/^"(.*)"$/, '$1'));
  return SEPARATORS.find((separator) => names(separator).some(isKnown)) ?? ',';
}

function tableRows(text: string, format: 'csv' | 'tsv', options: SeedOptions): Rows {
  const isTsv = format === 'tsv';
  let records: string[][];
  try {
    records = parseCsv(text, {
      skip_empty_lines: true,
      max_record_size: 10 * MAX_SEED_CHARACTERS,
      delimiter: isTsv ? '\t' : separatorOf(text, options),
      // A quote in a TSV file is most often a character of the text.
      relax_quotes: isTsv,
    });
  } catch (cause) {
    const message = cause instanceof CsvError ? cause.message : String(cause);
    throw new FloodgateError('config', `seeds ${options.path}: is not valid ${format.toUpperCase()}: ${message}`, {
      cause,
      hint: 'columns are separated by commas (CSV) or tabs (TSV); an attack with a comma, a quote or a line break is "quoted"',
    });
  }
  const [names, ...rows] = records;
  if (names === undefined) return { rows: [], column: undefined };
  requireHeader(options, names);
  const cellColumn = chooseCellColumn(options, names);
  const column = chooseColumn(options, names, cellColumn);
  const index = names.indexOf(column);
  const cellIndex = cellColumn === undefined ? -1 : names.indexOf(cellColumn);
  return { rows: mapped(rows, (row) => ({ value: row[index], cell: row[cellIndex] })), column, cellColumn };
}

function parseJsonLine(path: string, line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return refuse(path, `line ${number} is not JSON, expected one value a line`);
  }
}

/** Yields the lines of a text one at a time: a list of millions of short ones would take many times the file. */
function* linesOf(text: string): Generator<string> {
  for (let start = 0; start <= text.length; ) {
    const end = text.indexOf('\n', start);
    const line = text.slice(start, end < 0 ? text.length : end);
    yield line.endsWith('\r') ? line.slice(0, -1) : line;
    if (end < 0) return;
    start = end + 1;
  }
}

function* jsonLines(text: string, path: string): Generator<{ value: unknown; number: number }> {
  let number = 0;
  for (const line of linesOf(text)) {
    number += 1;
    if (line.trim() !== '') yield { value: parseJsonLine(path, line, number), number };
  }
}

function* mapped<T, V>(items: Iterable<T>, pick: (item: T) => V): Generator<V> {
  for (const item of items) yield pick(item);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** Every key of the objects, each line checked; undefined when all lines are texts. */
function jsonKeys(text: string, path: string): Set<string> | undefined {
  let names: Set<string> | undefined;
  let texts = 0;
  for (const { value, number } of jsonLines(text, path)) {
    if (typeof value === 'string' && names === undefined) texts += 1;
    else if (isRecord(value) && texts === 0) {
      names ??= new Set();
      for (const key of Object.keys(value)) names.add(key);
    } else return refuse(path, `line ${number} is neither a text nor an object like the others`);
  }
  return names;
}

function jsonlRows(text: string, options: SeedOptions): Rows {
  const names = jsonKeys(text, options.path);
  const lines = jsonLines(text, options.path);
  if (names === undefined) return { rows: mapped(lines, ({ value }) => ({ value })), column: undefined };
  const cellColumn = chooseCellColumn(options, [...names]);
  const column = chooseColumn(options, [...names], cellColumn);
  const valueAt = (record: Record<string, unknown>, key: string | undefined): unknown =>
    key !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
  const rows = mapped(lines, (line) => {
    const record = line.value as Record<string, unknown>;
    return { value: valueAt(record, column), cell: valueAt(record, cellColumn) };
  });
  return { rows, column, cellColumn };
}

export function rowsOf(text: string, format: SeedFormat, options: SeedOptions): Rows {
  switch (format) {
    case 'csv':
    case 'tsv':
      return tableRows(text, format, options);
    case 'jsonl':
      return jsonlRows(text, options);
    case 'text':
      return { rows: mapped(linesOf(text), (value) => ({ value })), column: undefined };
  }
}
