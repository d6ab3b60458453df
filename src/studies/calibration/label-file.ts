import { FloodgateError } from '../../base/errors.ts';
import type { LabelWish } from '../../runs/labelled-run.ts';
import { isEmpty, type Row, readLabel, readLabelRows } from './labelled-examples.ts';

/** A file of labels, by the numbers of attacks. */
export interface LabelFile {
  readonly wishes: readonly LabelWish[];
  /** Rows whose label is empty. */
  readonly unlabelled: number;
}

const KINDS = ['verdict', 'duplicate', 'wording', 'way'] as const;
const FORMAT_HINT =
  'columns: attack_id, response_position and label; or kind, attack_id and value; floodgate label --help has examples';

function refuse(path: string, row: number, what: string): never {
  throw new FloodgateError('config', `labels ${path}: row ${row}: ${what}`, { hint: FORMAT_HINT });
}

/** Names of columns in any case, without the blanks around them and a byte order mark. */
function byName(cells: Row): Map<string, unknown> {
  return new Map(
    Object.entries(cells).map(([name, value]) => [
      name
        .replace(/^\ufeff/, '')
        .trim()
        .toLowerCase(),
      value,
    ]),
  );
}

/** Returns the wish of one row; undefined where its label is empty. */
function wishOf(path: string, row: number, cells: Row): LabelWish | undefined {
  const named = byName(cells);
  const text = (name: string): string | undefined => {
    const value = named.get(name);
    return isEmpty(value) ? undefined : String(value).trim();
  };
  const number = (name: string): number => {
    const given = text(name);
    if (given !== undefined && /^\d{1,15}$/.test(given)) return Number(given);
    return refuse(path, row, `${name}: got ${JSON.stringify(given?.slice(0, 60) ?? '')}, expected a whole number`);
  };
  const value = text('label') ?? text('value');
  if (value === undefined) return undefined;
  const [given, note, subject] = [text('kind') ?? 'verdict', text('note'), text('subject')];
  const kind = KINDS.find((each) => each === given);
  if (kind === undefined) return refuse(path, row, `kind: got ${given}, expected one of ${KINDS.join(', ')}`);
  if (kind === 'way') return { kind, subject: subject ?? text('cause_sha256') ?? '', value, note };
  const attack = number('attack_id');
  if (kind === 'wording') return { kind, attack, value, note, subject };
  if (kind === 'duplicate') {
    if (!/^\d{1,15}$/.test(value)) return refuse(path, row, `value: got ${value}, expected the number of an attack`);
    return { kind, attack, value: Number(value), note, subject };
  }
  const isUnsafe = readLabel(value, path, row);
  const response = number('response_position');
  return { kind, attack, response, value: isUnsafe ? 'unsafe' : 'safe', judge: text('judge'), note, subject };
}

/**
 * Reads labels: CSV, TSV or JSONL. Attacks and answers have the numbers of `floodgate export`: `attack_id`, and
 * `response_position` from 0.
 * @throws FloodgateError `config` when the file is missing or malformed, naming the row.
 */
export async function readLabelFile(path: string): Promise<LabelFile> {
  const rows = await readLabelRows(path);
  const wishes = rows.flatMap(({ row, cells }) => wishOf(path, row, cells) ?? []);
  return { wishes, unlabelled: rows.length - wishes.length };
}
