import { FloodgateError } from '../../base/errors.ts';

/** How values cross between JavaScript and SQLite without loss. */

/** A text for a `text` column: BLOB when it holds NUL, where SQLite's text would end. */
export function textToCell(text: string): string | Buffer {
  return text.includes('\0') ? Buffer.from(text, 'utf8') : text;
}

export function cellToText(cell: unknown): string {
  if (typeof cell === 'string') return cell;
  if (cell instanceof ArrayBuffer) return Buffer.from(cell).toString('utf8');
  if (ArrayBuffer.isView(cell)) return Buffer.from(cell.buffer, cell.byteOffset, cell.byteLength).toString('utf8');
  throw new FloodgateError('store', `read run database: got ${typeof cell} where a text was expected`);
}

/** NaN would turn into NULL, *not measured*, without a word; it is a fault upstream and is named here. */
export function numberToCell(name: string, value: number | null): number | null {
  if (Number.isNaN(value)) throw new FloodgateError('store', `write run database: ${name} is NaN, expected a number`);
  return value;
}
