import { UNPRINTABLE, visibleEscape } from '../../base/unprintable.ts';
import type { TextFormat } from '../export-format.ts';
import { type Cell, type FlatColumn, flatRows } from '../flat-rows.ts';

/** Spreadsheets take a file without it for another encoding. */
const BYTE_ORDER_MARK = '\ufeff';

/**
 * A cell that begins so is a formula to a spreadsheet, also after blanks and in letters of full width; a tab and a line
 * break move it into another cell in some of them.
 */
const FORMULA = /^[\s\u00a0\u3000]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/;

/** A text that a spreadsheet shows and does not run: behind an apostrophe, with visible escapes of what it would hide. */
export function inertCell(text: string): string {
  const visible = text.replace(UNPRINTABLE, (character) =>
    character === '\n' || character === '\t' ? character : visibleEscape(character),
  );
  return FORMULA.test(text) ? `'${visible}` : visible;
}

function csvCell(cell: Cell, { type }: FlatColumn): string {
  if (cell === null) return '';
  if (type !== 'text') return String(cell);
  return `"${inertCell(String(cell)).replaceAll('"', '""')}"`;
}

/** One line of a CSV file: texts in quotes and inert, numbers as they are. */
export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map((cell) => csvCell(cell, { name: '', type: typeof cell === 'string' ? 'text' : 'number' })).join(',')}\r\n`;
}

/** RFC 4180 in UTF-8: a response a row, texts in quotes, numbers as they are. */
export const csv: TextFormat = {
  kind: 'text',
  name: 'csv',
  describe: 'one row a response, for a spreadsheet; no cell is a formula',
  *pieces(source) {
    const { columns, rows } = flatRows(source);
    const line = (cells: readonly string[]): string => `${cells.join(',')}\r\n`;
    yield BYTE_ORDER_MARK + line(columns.map(({ name }) => csvCell(name, { name, type: 'text' })));
    for (const row of rows()) yield line(row.map((cell, i) => csvCell(cell, columns[i] as FlatColumn)));
  },
};
