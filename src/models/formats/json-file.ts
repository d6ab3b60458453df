import type { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { openRandomAccessFile } from './random-access-file.ts';

/**
 * Returns the value of a JSON text. `what` begins the messages.
 * @throws `format` when it is not JSON, or when an object names a key twice: readers differ in which one counts, so two
 * tools would see two models.
 */
export function parseJson(text: string, what: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FloodgateError('format', `${what}: not JSON`, { cause });
  }
  const repeated = findRepeatedKey(text);
  if (repeated === undefined) return value;
  const shown = JSON.stringify(repeated.slice(0, MAX_SHOWN_KEY));
  throw new FloodgateError('format', `${what}: the key ${shown} occurs twice, expected once in an object`);
}

/**
 * Reads the JSON value of a small file. `maxBytes` stops a file of gigabytes before it is read.
 * @throws `format` when it is missing, too large, not JSON or names a key twice.
 */
export async function readJsonFile(path: string, maxBytes: number): Promise<unknown> {
  await using file = await openRandomAccessFile(path);
  if (file.size > maxBytes) {
    throw new FloodgateError('format', `read ${path}: got ${file.size} bytes, expected at most ${maxBytes}`);
  }
  return parseJson((await file.read(0, file.size)).toString('utf8'), `read ${path}`);
}

/** Returns `value` as the schema types it. @throws `format` naming the first field that does not fit. */
export function parseFields<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const at = issue === undefined || issue.path.length === 0 ? '' : ` ${issue.path.map(String).join('.')}:`;
  throw new FloodgateError('format', `${what}:${at} ${issue?.message ?? 'does not fit'}`);
}

/** A key of megabytes in a message. */
const MAX_SHOWN_KEY = 120;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === BACKSLASH) i++;
    else if (code === QUOTE) return i;
  }
  return text.length;
}

/** Keys that are compared one by one; the keys of a larger object go into a set. */
const FEW_KEYS = 16;

/** The keys of the open objects of a JSON text. Small objects make no set: a text may have a million of them. */
class OpenKeys {
  private readonly keys: string[] = [];
  private readonly starts: number[] = [];
  private readonly sets: (Set<string> | undefined)[] = [];

  open(): void {
    this.starts.push(this.keys.length);
  }

  close(): void {
    this.keys.length = this.starts.pop() ?? 0;
    this.sets.length = Math.min(this.sets.length, this.starts.length);
  }

  /** Adds a key of the innermost object; returns whether it was there. */
  isRepeated(key: string): boolean {
    const at = this.starts.length - 1;
    const start = this.starts[at] ?? 0;
    const known = this.sets[at];
    if (known === undefined ? this.keys.indexOf(key, start) >= 0 : known.has(key)) return true;
    known?.add(key);
    this.keys.push(key);
    if (known === undefined && this.keys.length - start > FEW_KEYS) this.sets[at] = new Set(this.keys.slice(start));
    return false;
  }
}

/** The first key that one object of a JSON text names twice, however it is written; undefined when there is none. */
export function findRepeatedKey(text: string): string | undefined {
  const open = new OpenKeys();
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === OPEN_OBJECT || code === OPEN_LIST) open.open();
    else if (code === CLOSE_OBJECT || code === CLOSE_LIST) open.close();
    else if (code === QUOTE) {
      const end = endOfString(text, i);
      const quoted = text.slice(i, end + 1);
      i = end;
      if (!isKeyEnd(text, end + 1)) continue;
      const key = quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
      if (open.isRepeated(key)) return key;
    }
  }
  return undefined;
}

/** Whether a colon follows at `at`, after blanks: what ends there is a key. */
function isKeyEnd(text: string, at: number): boolean {
  let i = at;
  while (' \t\n\r'.includes(text.charAt(i)) && i < text.length) i++;
  return text.charAt(i) === ':';
}

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
