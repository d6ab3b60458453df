import { extname } from 'node:path';
import { CsvError, parse as parseCsv } from 'csv-parse/sync';
import { sha256Of } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { nearestName } from '../../base/nearest-name.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import type { Config } from './config.ts';

/** Stops a model or a video from being read as seeds. */
const MAX_SEED_FILE_BYTES = 64 * 1024 * 1024;
/** Stops one broken quote in a CSV from making the rest of the file one attack. */
const MAX_SEED_CHARACTERS = 10_000;
/** More seeds than any warm-up needs; when lines are short, each takes some ten times its line in memory. */
const MAX_SEEDS = 200_000;
/** Column names that need not be named in the config. */
const USUAL_COLUMNS = ['attack', 'prompt', 'text', 'goal', 'instruction', 'question'];

const FORMATS_HINT = 'seeds.path names a text file with one attack a line, a CSV or a JSONL or TSV file';

/** A longer name of a column is rather an attack, the first of a file without a header. */
const MAX_COLUMN_NAME = 40;
/** Separators of columns; tried in this order on a header that names a usual column. */
const SEPARATORS = [',', ';', '\t'] as const;

type SeedFormat = 'csv' | 'tsv' | 'jsonl' | 'text';

export interface SeedSet {
  /** Distinct, trimmed, in the order of the file. */
  readonly attacks: readonly string[];
  readonly format: SeedFormat;
  readonly column: string | undefined;
  readonly sha256: string;
  /** Unused entries of the file, by reason. */
  readonly skipped: { readonly empty: number; readonly duplicate: number; readonly tooLong: number };
}

export type SeedOptions = Config['seeds'];

interface Rows {
  /** Yielded one at a time, so that repeated and empty values are not kept in memory. */
  readonly values: Iterable<unknown>;
  readonly column: string | undefined;
}

/** Characters of an attack or a name that a message shows. */
const SHOWN_CHARACTERS = 60;

function shortened(text: string): string {
  const characters = [...text.trim()];
  return characters.length <= SHOWN_CHARACTERS
    ? characters.join('')
    : `${characters.slice(0, SHOWN_CHARACTERS).join('')}…`;
}

/** How a seed file was read, in one line: its column, the number of attacks, those left out, and the first one. */
export function seedsText({ attacks, format, column, skipped }: Omit<SeedSet, 'sha256'>): string {
  const left = [
    [skipped.empty, 'empty'],
    [skipped.duplicate, 'repeated'],
    [skipped.tooLong, `longer than ${MAX_SEED_CHARACTERS} characters`],
  ] as const;
  const leftOut = left.flatMap(([count, what]) => (count === 0 ? [] : [`${count} ${what}`])).join(', ');
  const from = column === undefined ? `${format}` : `${format}, column ${JSON.stringify(shortened(column))}`;
  const count = attacks.length === 1 ? '1 attack' : `${attacks.length} attacks`;
  return `${count} (${from}${leftOut === '' ? '' : `; left out: ${leftOut}`}), the first: ${shortened(attacks[0] ?? '')}`;
}

function refuse(path: string, what: string, hint?: string): never {
  throw new FloodgateError('config', `seeds ${path}: ${what}`, hint === undefined ? {} : { hint });
}

function formatOf({ path, format }: SeedOptions): SeedFormat {
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

async function readBytes(path: string): Promise<Buffer> {
  try {
    return await readRegularFile(path, MAX_SEED_FILE_BYTES, (size) =>
      refuse(path, `too large, got ${size} bytes, expected at most ${MAX_SEED_FILE_BYTES}`),
    );
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    throw new FloodgateError('config', `seeds ${path}: cannot be read (${code}), expected a file`, {
      cause,
      hint: 'seeds.path counts from the folder of the config file',
    });
  }
}

/** Text of the bytes, without a byte-order mark; refuses bytes that are not text. */
function decodeText(path: string, bytes: Buffer): string {
  const zero = bytes.indexOf(0);
  if (zero >= 0)
    return refuse(path, `looks binary, got a NUL byte at offset ${zero}, expected UTF-8 text`, FORMATS_HINT);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return refuse(path, 'is not UTF-8 text', 'iconv -f latin1 -t utf-8 converts an old file');
  }
}

/** The column to read: the one asked for, the only one, or the first with a usual name. */
function chooseColumn({ path, column }: SeedOptions, names: readonly string[]): string {
  if (column !== undefined) {
    if (names.includes(column)) return column;
    const near = nearestName(column, names);
    const advice = near === undefined ? '' : `, did you mean ${near}?`;
    return refuse(path, `got column ${column}, expected one of ${names.join(', ')}${advice}`, 'seeds.column names it');
  }
  const usual = names.find((name) => USUAL_COLUMNS.includes(name.trim().toLowerCase()));
  const chosen = names.length === 1 ? names[0] : usual;
  if (chosen !== undefined) return chosen;
  const what = `has several columns: ${names.map(shortened).join(', ')}`;
  return refuse(path, what, `seeds.column says which holds the attacks; ${HEADER_HINT}`);
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
  if (names === undefined) return { values: [], column: undefined };
  requireHeader(options, names);
  const column = chooseColumn(options, names);
  const index = names.indexOf(column);
  return { values: valuesOf(rows, (row) => row[index]), column };
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

function* valuesOf<T, V>(items: Iterable<T>, pick: (item: T) => V): Generator<V> {
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
  if (names === undefined) return { values: valuesOf(lines, ({ value }) => value), column: undefined };
  const column = chooseColumn(options, [...names]);
  const cellOf = (record: Record<string, unknown>) => (Object.hasOwn(record, column) ? record[column] : undefined);
  return { values: valuesOf(lines, ({ value }) => cellOf(value as Record<string, unknown>)), column };
}

function rowsOf(text: string, format: SeedFormat, options: SeedOptions): Rows {
  switch (format) {
    case 'csv':
    case 'tsv':
      return tableRows(text, format, options);
    case 'jsonl':
      return jsonlRows(text, options);
    case 'text':
      return { values: linesOf(text), column: undefined };
  }
}

/**
 * Returns the seed attacks in `text`. Skips and counts empty, repeated and overlong entries.
 * @throws FloodgateError `config` when the text cannot be read as its format or holds no attack at all.
 */
export function parseSeeds(text: string, options: SeedOptions): Omit<SeedSet, 'sha256'> {
  const format = formatOf(options);
  const { values, column } = rowsOf(text, format, options);
  const attacks = new Set<string>();
  const skipped = { empty: 0, duplicate: 0, tooLong: 0 };
  for (const value of values) {
    if (attacks.size === options.limit) break;
    const attack = typeof value === 'string' ? value.trim() : '';
    if (attack === '') skipped.empty += 1;
    else if (attack.length > MAX_SEED_CHARACTERS) skipped.tooLong += 1;
    else if (attacks.has(attack)) skipped.duplicate += 1;
    else attacks.add(attack);
    if (attacks.size > MAX_SEEDS) {
      return refuse(options.path, `holds more than ${MAX_SEEDS} attacks`, 'seeds.limit takes the first so many');
    }
  }
  if (attacks.size === 0) {
    return refuse(
      options.path,
      `holds no attack (${skipped.empty} empty, ${skipped.tooLong} longer than ${MAX_SEED_CHARACTERS} characters)`,
      FORMATS_HINT,
    );
  }
  return { attacks: [...attacks], format, column, skipped };
}

/**
 * Returns the seed attacks of the file that the config names.
 * @throws FloodgateError `config` when it is missing, too large, binary, malformed or empty.
 */
export async function loadSeeds(options: SeedOptions): Promise<SeedSet> {
  const bytes = await readBytes(options.path);
  return { ...parseSeeds(decodeText(options.path, bytes), options), sha256: sha256Of(bytes) };
}
