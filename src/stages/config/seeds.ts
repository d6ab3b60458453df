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

const FORMATS_HINT = 'seeds.path names a text file with one attack a line, a CSV or a JSONL file';

type SeedFormat = 'csv' | 'jsonl' | 'text';

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

function refuse(path: string, what: string, hint?: string): never {
  throw new FloodgateError('config', `seeds ${path}: ${what}`, hint === undefined ? {} : { hint });
}

function formatOf({ path, format }: SeedOptions): SeedFormat {
  if (format !== 'auto') return format;
  switch (extname(path).toLowerCase()) {
    case '.csv':
      return 'csv';
    case '.jsonl':
    case '.ndjson':
      return 'jsonl';
    case '.json':
      return refuse(
        path,
        'got a JSON file, expected CSV, JSONL (one JSON value a line) or text',
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
  return (
    chosen ?? refuse(path, `has several columns: ${names.join(', ')}`, 'seeds.column says which holds the attacks')
  );
}

function csvRows(text: string, options: SeedOptions): Rows {
  let records: string[][];
  try {
    records = parseCsv(text, { skip_empty_lines: true, max_record_size: 10 * MAX_SEED_CHARACTERS });
  } catch (cause) {
    const message = cause instanceof CsvError ? cause.message : String(cause);
    throw new FloodgateError('config', `seeds ${options.path}: is not valid CSV: ${message}`, { cause });
  }
  const [names, ...rows] = records;
  if (names === undefined) return { values: [], column: undefined };
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
      return csvRows(text, options);
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
