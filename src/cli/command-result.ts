import type { CliContext } from './context.ts';

/** What a command has to say: once for people, once for programs. */
export interface CommandResult {
  readonly text: string;
  /** One JSON object. */
  readonly json: object;
}

/** Prints a result in the form that was asked for. */
export function printResult(context: CliContext, { text, json }: CommandResult): void {
  context.out(context.json ? JSON.stringify(json, null, 2) : text);
}

/** Returns rows as columns aligned by spaces, the first row being the heading. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
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
