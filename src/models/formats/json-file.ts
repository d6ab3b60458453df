import type { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { openRandomAccessFile } from './random-access-file.ts';

/**
 * The JSON value of a small file. `maxBytes` stops a file of gigabytes from being read at all.
 * @throws `format` when it is missing, too large or not JSON.
 */
export async function readJsonFile(path: string, maxBytes: number): Promise<unknown> {
  await using file = await openRandomAccessFile(path);
  if (file.size > maxBytes) {
    throw new FloodgateError('format', `read ${path}: got ${file.size} bytes, expected at most ${maxBytes}`);
  }
  const text = (await file.read(0, file.size)).toString('utf8');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FloodgateError('format', `read ${path}: not JSON`, { cause });
  }
}

/** `value` as the schema types it. @throws `format` naming the first field that does not fit. */
export function parseFields<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const at = issue === undefined || issue.path.length === 0 ? '' : ` ${issue.path.map(String).join('.')}:`;
  throw new FloodgateError('format', `${what}:${at} ${issue?.message ?? 'does not fit'}`);
}
