import type { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { openRandomAccessFile } from './random-access-file.ts';

/**
 * Reads the JSON value of a small file. `maxBytes` stops a file of gigabytes before it is read.
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

/** Returns `value` as the schema types it. @throws `format` naming the first field that does not fit. */
export function parseFields<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const at = issue === undefined || issue.path.length === 0 ? '' : ` ${issue.path.map(String).join('.')}:`;
  throw new FloodgateError('format', `${what}:${at} ${issue?.message ?? 'does not fit'}`);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const OPEN_OBJECT = 0x7b;

/**
 * Number of values in a JSON text, without building any: counts each list, object and comma outside strings.
 * A parsed value takes some 50 bytes, however short its text (`[],` has three), so a reader checks this bound before it
 * parses. The number means nothing for text that is not JSON; the parser refuses such text anyway.
 */
export function countJsonValues(bytes: Uint8Array): number {
  let count = 1;
  let isInString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (isInString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) isInString = false;
    } else if (byte === QUOTE) isInString = true;
    else if (byte === COMMA || byte === OPEN_LIST || byte === OPEN_OBJECT) count++;
  }
  return count;
}
