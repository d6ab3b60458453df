import { FloodgateError, redactSecrets } from '../base/errors.ts';
import { printable } from './printable.ts';

/** What `--json` prints when a command fails. */
export interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string };
}

/** Most causes followed: a chain that loops must not print for ever. */
const MAX_CAUSES = 10;

function messageOf(error: unknown): string {
  return error instanceof Error ? redactSecrets(error.message || error.name) : redactSecrets(String(error));
}

function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** Returns the error as text: message and hint; with `debug` its stack and those of its causes. */
export function errorText(error: unknown, debug: boolean): string {
  const lines = [`error: ${messageOf(error)}`];
  if (error instanceof FloodgateError && error.hint !== undefined) lines.push(`hint: ${error.hint}`);
  if (!(error instanceof FloodgateError) && !debug) lines.push('hint: --debug shows where this came from');
  if (debug) {
    let current: unknown = error;
    for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
      lines.push(`${depth === 0 ? '' : 'caused by: '}${redactSecrets(current.stack ?? current.message)}`);
      current = current.cause;
    }
  }
  return printableLines(lines.join('\n'));
}

/** Returns the error as the one JSON object that `--json` promises. */
export function errorJson(error: unknown): ErrorJson {
  const isOurs = error instanceof FloodgateError;
  const hint = isOurs ? error.hint : undefined;
  return {
    error: {
      code: isOurs ? error.code : 'unexpected',
      message: messageOf(error),
      ...(hint === undefined ? {} : { hint }),
    },
  };
}
