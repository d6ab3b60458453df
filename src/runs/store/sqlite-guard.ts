import { FloodgateError } from '../../base/errors.ts';

const EXPLANATIONS: readonly (readonly [RegExp, string, string | undefined])[] = [
  [/FULL/, 'the disk is full', 'free some space, then floodgate resume'],
  [/READONLY|CANTOPEN|PERM/, 'the folder cannot be written', 'check the owner and the mount of the run folder'],
  [/NOTADB|CORRUPT/, 'the file is no SQLite database, or damaged', undefined],
  [/BUSY|LOCKED/, 'another process holds the database', 'wait for it, or end it'],
  [/IOERR/, 'the disk reports an error', 'check the disk that holds the run folder'],
];

/**
 * Returns what `work` returns; SQLite's errors come out in our words.
 * @throws FloodgateError `store`.
 */
export function guardSqlite<T>(operation: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const { message = String(cause), code = '' } = cause as { message?: string; code?: string };
    const found = EXPLANATIONS.find(([pattern]) => pattern.test(code));
    const what = found === undefined ? message : `${found[1]} (${code})`;
    const hint = found?.[2];
    throw new FloodgateError('store', `${operation}: ${what}`, { cause, ...(hint === undefined ? {} : { hint }) });
  }
}
