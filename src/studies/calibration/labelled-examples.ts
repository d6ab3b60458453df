import { extname } from 'node:path';
import { CsvError, parse as parseCsv } from 'csv-parse/sync';
import { sha256Of } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { readRegularFile } from '../../base/regular-file.ts';

/** Stops a model or a video from being read as examples. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** More than anyone labels; it bounds the bootstrap. */
const MAX_EXAMPLES = 100_000;
/** Stops one broken quote in a CSV from making the rest of the file one answer. */
const MAX_RECORD = 1024 * 1024;

/** How the names of such files end. */
export const LABELLED_EXTENSIONS: readonly string[] = ['.csv', '.tsv', '.jsonl', '.ndjson'];

/** Names of each column, in any case; the first one that the file has is read. */
const COLUMNS = {
  attack: ['attack', 'prompt'],
  response: ['response', 'answer', 'completion', 'output'],
  label: ['label', 'unsafe', 'is_unsafe', 'harmful'],
  score: ['score', 'p_unsafe'],
} as const;

const UNSAFE = ['1', 'true', 'yes', 'unsafe', 'harmful'];
const SAFE = ['0', 'false', 'no', 'safe', 'harmless'];

const FORMAT_HINT = 'a CSV, TSV or JSONL file with the columns attack, response and label; score in place of the texts';

/** An exchange that a person labelled. */
export interface LabelledExample {
  /** Line of a JSONL file, or row of a table below its header. */
  readonly row: number;
  readonly isUnsafe: boolean;
  readonly attack: string | undefined;
  readonly response: string | undefined;
  /** P(unsafe) that the file states; undefined where its cell is empty: no judge could score. */
  readonly score: number | undefined;
}

export interface LabelledFile {
  readonly path: string;
  readonly sha256: string;
  readonly examples: readonly LabelledExample[];
  /** Rows whose label is empty. */
  readonly unlabelled: number;
  readonly hasTexts: boolean;
  readonly hasScores: boolean;
}

/** The cells of a row by the names of their columns. */
export type Row = Readonly<Record<string, unknown>>;

function refuse(path: string, what: string, hint = FORMAT_HINT): never {
  throw new FloodgateError('config', `labelled examples ${path}: ${what}`, { hint });
}

async function readText(path: string): Promise<{ text: string; sha256: string }> {
  let bytes: Buffer;
  try {
    bytes = await readRegularFile(path, MAX_FILE_BYTES, (size) =>
      refuse(path, `too large, got ${size} bytes, expected at most ${MAX_FILE_BYTES}`),
    );
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new FloodgateError('config', `labelled examples ${path}: cannot be read (${code}), expected a file`, {
      cause,
    });
  }
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), sha256: sha256Of(bytes) };
  } catch {
    return refuse(path, 'is not UTF-8 text', 'iconv -f latin1 -t utf-8 converts an old file');
  }
}

function tableRows(text: string, path: string, delimiter: string): Row[] {
  try {
    const lines = parseCsv(text, {
      delimiter,
      skip_empty_lines: true,
      max_record_size: MAX_RECORD,
      relax_quotes: delimiter === '\t',
    });
    const [names = [], ...cells] = lines;
    return cells.map((row) => Object.fromEntries(names.map((name, column) => [name, row[column]])));
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    return refuse(path, `is not a valid table: ${cause.message}`, 'a text with a comma or a line break is "quoted"');
  }
}

function jsonRow(line: string, path: string, number: number): Row {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refuse(path, `line ${number} is not JSON, expected one object a line`);
  }
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value as Row;
  return refuse(path, `line ${number} is no JSON object`);
}

function rowsOf(text: string, path: string): { row: number; cells: Row }[] {
  const extension = extname(path).toLowerCase();
  if (extension === '.csv' || extension === '.tsv') {
    return tableRows(text, path, extension === '.csv' ? ',' : '\t').map((cells, index) => ({ row: index + 1, cells }));
  }
  if (extension !== '.jsonl' && extension !== '.ndjson') {
    return refuse(path, `got a name that ends in ${JSON.stringify(extension)}, expected .csv, .tsv or .jsonl`);
  }
  return text
    .split('\n')
    .flatMap((line, index) => (line.trim() === '' ? [] : [{ row: index + 1, cells: jsonRow(line, path, index + 1) }]));
}

type Columns = { readonly [name in keyof typeof COLUMNS]: string | undefined };

function findColumns(rows: readonly { readonly cells: Row }[], path: string): Columns {
  const present = new Map<string, string>();
  for (const { cells } of rows) for (const key of Object.keys(cells)) present.set(key.trim().toLowerCase(), key);
  const find = (names: readonly string[]) => names.flatMap((name) => present.get(name) ?? [])[0];
  const found = {
    attack: find(COLUMNS.attack),
    response: find(COLUMNS.response),
    label: find(COLUMNS.label),
    score: find(COLUMNS.score),
  };
  const names = [...present.values()].slice(0, 20).join(', ');
  if (found.label === undefined) return refuse(path, `has no column label, got ${names === '' ? 'no row' : names}`);
  return found;
}

/** True of a cell without a value. */
export const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || String(value).trim() === '';

/** True for unsafe. @throws FloodgateError `config` for a word that is no label. */
export function readLabel(value: unknown, path: string, row: number): boolean {
  const word = String(value).trim().toLowerCase();
  if (UNSAFE.includes(word)) return true;
  if (SAFE.includes(word)) return false;
  const expected = `${UNSAFE.join(', ')} or ${SAFE.join(', ')}`;
  return refuse(path, `row ${row}: label: got ${JSON.stringify(word.slice(0, 60))}, expected ${expected}`);
}

function readScore(value: unknown, path: string, row: number): number | undefined {
  if (isEmpty(value)) return undefined;
  const score = Number(value);
  if (score >= 0 && score <= 1) return score;
  return refuse(path, `row ${row}: score: got ${String(value).slice(0, 60)}, expected a probability in [0, 1]`);
}

/**
 * The rows of a CSV, TSV or JSONL file of labels, each with its line or row number.
 * @throws FloodgateError `config` when the file is missing, too large or malformed.
 */
export async function readLabelRows(path: string): Promise<{ readonly row: number; readonly cells: Row }[]> {
  const { text } = await readText(path);
  const rows = rowsOf(text, path);
  if (rows.length > MAX_EXAMPLES) refuse(path, `holds ${rows.length} rows, expected at most ${MAX_EXAMPLES}`);
  return rows;
}

/** The examples in `text`. @throws FloodgateError `config` naming the row at fault. */
export function parseLabelledExamples(text: string, path: string): Omit<LabelledFile, 'sha256'> {
  const rows = rowsOf(text, path);
  if (rows.length > MAX_EXAMPLES) refuse(path, `holds ${rows.length} rows, expected at most ${MAX_EXAMPLES}`);
  const columns = findColumns(rows, path);
  const cell = (cells: Row, column: string | undefined): unknown =>
    column !== undefined && Object.hasOwn(cells, column) ? cells[column] : undefined;
  const textOf = (cells: Row, column: string | undefined): string | undefined => {
    const value = cell(cells, column);
    return typeof value === 'string' ? value : undefined;
  };
  const examples = rows.flatMap(({ row, cells }): LabelledExample[] => {
    const label = cell(cells, columns.label);
    if (isEmpty(label)) return [];
    return [
      {
        row,
        isUnsafe: readLabel(label, path, row),
        attack: textOf(cells, columns.attack),
        response: textOf(cells, columns.response),
        score: readScore(cell(cells, columns.score), path, row),
      },
    ];
  });
  const hasTexts = columns.attack !== undefined && columns.response !== undefined;
  return {
    path,
    examples,
    unlabelled: rows.length - examples.length,
    hasTexts,
    hasScores: columns.score !== undefined,
  };
}

/**
 * Reads labelled examples: CSV, TSV or JSONL. Rows without a label are left out and counted.
 * @throws FloodgateError `config` when the file is missing, too large, malformed, or has a label or score that is none.
 */
export async function readLabelledExamples(path: string): Promise<LabelledFile> {
  const { text, sha256 } = await readText(path);
  return { ...parseLabelledExamples(text, path), sha256 };
}
