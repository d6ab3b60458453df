import { UNPRINTABLE, visibleEscape } from '../base/unprintable.ts';
import type { CliContext } from './context.ts';

/** The result of a command: once for people, once for programs. */
export interface CommandResult {
  readonly text: string;
  /** One JSON object. */
  readonly json: object;
}

/** Prints a result as text, or as JSON under `--json`. */
export function printResult(context: CliContext, { text, json }: CommandResult): void {
  context.out(context.json ? JSON.stringify(json, null, 2) : text);
}

/** An argument as a POSIX shell reads it back. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A sum of money without its currency. */
export function moneyWords(money: number): string {
  return money.toLocaleString('en-US', { maximumFractionDigits: money < 1 ? 4 : 2 });
}

/** Returns rows as columns aligned by spaces, each row on one line; the first row is the heading. */
export function alignColumns(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(printable));
  const widths = rows.reduce<number[]>(
    (widest, row) => row.map((cell, column) => Math.max(widest[column] ?? 0, cell.length)),
    [],
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Returns `text` on one line without any character that a terminal would obey. Language models write attacks and
 * responses: none may move the reader's cursor, change the title or colour the screen.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => NAMED[character] ?? visibleEscape(character));
}

/** A piece of a file with every character escaped that a terminal would obey, but line ends, tabs and the byte order mark. */
export function inertFileText(text: string): string {
  return text.replace(UNPRINTABLE, (character, at: number) => {
    const isKept = '\n\t\ufeff'.includes(character) || (character === '\r' && text[at + 1] === '\n');
    return isKept ? character : visibleEscape(character);
  });
}

/** Each of the lines `printable`, so that none can become two. */
export function joinLines(lines: readonly string[]): string {
  return lines.map(printable).join('\n');
}

/** A text of several lines, each `printable`. */
export function printableLines(text: string): string {
  return joinLines(text.split('\n'));
}

/** `printable` text, cut to `width` characters with an ellipsis. */
export function printableWithin(text: string, width: number): string {
  const characters = [...printable(text)];
  return characters.length <= width ? characters.join('') : `${characters.slice(0, Math.max(width - 1, 0)).join('')}…`;
}
