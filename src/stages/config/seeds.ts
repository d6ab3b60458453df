import { sha256Of } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import type { Config } from './config.ts';
import {
  FORMATS_HINT,
  formatOf,
  MAX_SEED_CHARACTERS,
  refuse,
  rowsOf,
  type SeedFormat,
  type SeedOptions,
  shortened,
} from './seed-rows.ts';

/** Stops a model or a video from being read as seeds. */
const MAX_SEED_FILE_BYTES = 64 * 1024 * 1024;
/** More seeds than any warm-up needs; when lines are short, each takes some ten times its line in memory. */
const MAX_SEEDS = 200_000;

export interface SeedSet {
  /** Distinct, trimmed, in the order of the file. */
  readonly attacks: readonly string[];
  /** The cell of each attack by the file; undefined where it names none. Absent without a column of cells. */
  readonly cells?: readonly (string | undefined)[];
  /** Cells that no attack is of, as far as the file tells. */
  readonly emptyCells?: readonly string[];
  readonly format: SeedFormat;
  readonly column: string | undefined;
  readonly cellColumn?: string;
  readonly sha256: string;
  /** Unused entries of the file, by reason. */
  readonly skipped: { readonly empty: number; readonly duplicate: number; readonly tooLong: number };
}

/** How a seed file was read, in one line: its column, the number of attacks, those left out, and the first one. */
export function seedsText(seeds: Omit<SeedSet, 'sha256'>): string {
  const { attacks, format, column, cellColumn, emptyCells = [], skipped } = seeds;
  const left = [
    [skipped.empty, 'empty'],
    [skipped.duplicate, 'repeated'],
    [skipped.tooLong, `longer than ${MAX_SEED_CHARACTERS} characters`],
  ] as const;
  const leftOut = left.flatMap(([count, what]) => (count === 0 ? [] : [`${count} ${what}`])).join(', ');
  const named = (name: string): string => JSON.stringify(shortened(name));
  const of = column === undefined ? `${format}` : `${format}, column ${named(column)}`;
  const from = cellColumn === undefined ? of : `${of}, cells by ${named(cellColumn)}`;
  const missing = emptyCells.length === 0 ? '' : `; no seed of the cells ${emptyCells.join(', ')}`;
  const count = attacks.length === 1 ? '1 attack' : `${attacks.length} attacks`;
  return `${count} (${from}${leftOut === '' ? '' : `; left out: ${leftOut}`}${missing}), the first: ${shortened(attacks[0] ?? '')}`;
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

/**
 * Returns the seed attacks in `text`. Skips and counts empty, repeated and overlong entries.
 * @throws FloodgateError `config` when the text cannot be read as its format or holds no attack at all.
 */
export function parseSeeds(text: string, options: SeedOptions): Omit<SeedSet, 'sha256'> {
  const format = formatOf(options);
  const { rows, column, cellColumn } = rowsOf(text, format, options);
  const attacks = new Map<string, string | undefined>();
  const skipped = { empty: 0, duplicate: 0, tooLong: 0 };
  for (const { value, cell } of rows) {
    if (attacks.size === options.limit) break;
    const attack = typeof value === 'string' ? value.trim() : '';
    if (attack === '') skipped.empty += 1;
    else if (attack.length > MAX_SEED_CHARACTERS) skipped.tooLong += 1;
    else if (attacks.has(attack)) skipped.duplicate += 1;
    else attacks.set(attack, typeof cell === 'string' && cell.trim() !== '' ? cell.trim() : undefined);
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
  const read = { attacks: [...attacks.keys()], format, column, skipped };
  return cellColumn === undefined ? read : { ...read, cells: [...attacks.values()], cellColumn };
}

/**
 * The seeds of a config's file, with their cells where the attacker has any. A column that was not named after them may
 * hold other categories: those are no cells.
 * @throws FloodgateError as `loadSeeds`, and `config` for a cell that the attacker has not.
 */
export async function loadConfigSeeds({ seeds, attacker }: Pick<Config, 'seeds' | 'attacker'>): Promise<SeedSet> {
  const names = attacker.cells?.map(({ name }) => name);
  const read = await loadSeeds({ ...seeds, hasCells: names !== undefined });
  if (names === undefined || read.cells === undefined) return read;
  const unknown = read.cells.find((cell) => cell !== undefined && !names.includes(cell));
  const isMeant = seeds.cellColumn !== undefined || read.cellColumn?.trim().toLowerCase() === 'cell';
  if (unknown !== undefined && isMeant) {
    const what = `got cell ${shortened(unknown)}, expected a name of attacker.cells: ${names.join(', ')}`;
    return refuse(seeds.path, what, 'a seed without a cell goes to the nearest one');
  }
  const cells = read.cells.map((cell) => (cell !== undefined && names.includes(cell) ? cell : undefined));
  const isWhole = cells.every((cell) => cell !== undefined);
  return { ...read, cells, emptyCells: isWhole ? names.filter((name) => !cells.includes(name)) : [] };
}

/**
 * Returns the seed attacks of a file.
 * @throws FloodgateError `config` when it is missing, too large, binary, malformed or empty.
 */
export async function loadSeeds(options: SeedOptions): Promise<SeedSet> {
  const bytes = await readBytes(options.path);
  return { ...parseSeeds(decodeText(options.path, bytes), options), sha256: sha256Of(bytes) };
}
