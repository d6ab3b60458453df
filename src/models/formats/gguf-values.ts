import { FloodgateError } from '../../base/errors.ts';

/**
 * The prefix ended before the file did. The caller reads a longer prefix and parses again; never leaves the format
 * readers.
 */
export class PrefixTooShort extends Error {}

/** Longest text of an error message: stops a name of megabytes. */
const MAX_MESSAGE = 500;

/**
 * Little-endian reads over a prefix of a file. A read beyond the file is a damaged file (`format`);
 * a read beyond the prefix is a `PrefixTooShort`.
 */
export class ByteCursor {
  offset = 0;
  readonly bytes: Buffer;
  readonly fileSize: number;
  private readonly operation: string;

  constructor(bytes: Buffer, fileSize: number, operation: string) {
    this.bytes = bytes;
    this.fileSize = fileSize;
    this.operation = operation;
  }

  /** A `format` error that names the operation. */
  fail(what: string): FloodgateError {
    const shown = what.length > MAX_MESSAGE ? `${what.slice(0, MAX_MESSAGE)}...` : what;
    return new FloodgateError('format', `${this.operation}: ${shown}`);
  }

  /** Bytes of the file that follow the cursor. */
  get remaining(): number {
    return this.fileSize - this.offset;
  }

  /** Moves over `length` bytes and returns where they start. */
  take(length: number): number {
    if (length > this.remaining) {
      throw this.fail(
        `file is cut short, got ${this.remaining} bytes after offset ${this.offset}, expected at least ${length}`,
      );
    }
    const start = this.offset;
    if (start + length > this.bytes.length) throw new PrefixTooShort();
    this.offset = start + length;
    return start;
  }

  uint32(): number {
    return this.bytes.readUInt32LE(this.take(4));
  }

  uint64(): bigint {
    return this.bytes.readBigUInt64LE(this.take(8));
  }

  /** A 64-bit count or length, refused above `limit` before anything is sized by it. */
  count(what: string, limit: number): number {
    const value = this.uint64();
    if (value > BigInt(limit)) throw this.fail(`${what} is out of range, got ${value}, expected at most ${limit}`);
    return Number(value);
  }
}

/** One metadata value of a GGUF file. 64-bit integers are numbers while they are safe ones, bigints beyond. */
export type GgufValue = string | number | bigint | boolean | readonly GgufValue[];

/** A value of megabytes in a message. */
const MAX_SHOWN = 120;

/** A metadata value as messages show it: 64-bit integers too, and never more than a line of it. */
export function shownGgufValue(value: GgufValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'object') return 'an array';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}...` : value);
}

/** A string of gigabytes as a key or token: the longest real one is a chat template of some 100 kB. */
const MAX_STRING_BYTES = 16 * 1024 * 1024;
/** An array that claims billions of items: the largest real one is a vocabulary of some 300,000 tokens. */
const MAX_ARRAY_ITEMS = 4_000_000;
/**
 * An array of single bytes, each of which becomes an 8-byte number: the largest real one is a table of some 240,000.
 */
const MAX_BYTE_ITEMS = 1_000_000;
/** Arrays in arrays in arrays, to exhaust the stack. */
const MAX_ARRAY_DEPTH = 4;

const TYPE_STRING = 8;
const TYPE_ARRAY = 9;

/** A 64-bit integer as the plainest JavaScript value that holds it. */
function toInteger(value: bigint): number | bigint {
  const plain = Number(value);
  return Number.isSafeInteger(plain) ? plain : value;
}

function readBoolean(cursor: ByteCursor): boolean {
  const byte = cursor.bytes.readUInt8(cursor.take(1));
  if (byte > 1) throw cursor.fail(`a boolean is neither 0 nor 1, got ${byte}`);
  return byte === 1;
}

interface ScalarType {
  readonly byteLength: number;
  readonly read: (cursor: ByteCursor) => number | bigint | boolean;
}

/** The fixed-size value types, by the number the file gives them. */
const SCALAR_TYPES: ReadonlyMap<number, ScalarType> = new Map<number, ScalarType>([
  [0, { byteLength: 1, read: (c) => c.bytes.readUInt8(c.take(1)) }],
  [1, { byteLength: 1, read: (c) => c.bytes.readInt8(c.take(1)) }],
  [2, { byteLength: 2, read: (c) => c.bytes.readUInt16LE(c.take(2)) }],
  [3, { byteLength: 2, read: (c) => c.bytes.readInt16LE(c.take(2)) }],
  [4, { byteLength: 4, read: (c) => c.uint32() }],
  [5, { byteLength: 4, read: (c) => c.bytes.readInt32LE(c.take(4)) }],
  [6, { byteLength: 4, read: (c) => c.bytes.readFloatLE(c.take(4)) }],
  [7, { byteLength: 1, read: readBoolean }],
  [10, { byteLength: 8, read: (c) => toInteger(c.uint64()) }],
  [11, { byteLength: 8, read: (c) => toInteger(c.bytes.readBigInt64LE(c.take(8))) }],
  [12, { byteLength: 8, read: (c) => c.bytes.readDoubleLE(c.take(8)) }],
]);

/** Fewest bytes that one item can take. They bound an array's claimed length before anything is allocated. */
function leastItemBytes(type: number): number | undefined {
  if (type === TYPE_STRING) return 8;
  if (type === TYPE_ARRAY) return 12;
  return SCALAR_TYPES.get(type)?.byteLength;
}

/** Reads a length-prefixed UTF-8 string; invalid bytes become U+FFFD. */
export function readGgufString(cursor: ByteCursor): string {
  const length = cursor.count('a string length', MAX_STRING_BYTES);
  const start = cursor.take(length);
  return cursor.bytes.toString('utf8', start, start + length);
}

function readArray(cursor: ByteCursor, depth: number): readonly GgufValue[] {
  if (depth > MAX_ARRAY_DEPTH) throw cursor.fail(`arrays are nested more than ${MAX_ARRAY_DEPTH} deep`);
  const type = cursor.uint32();
  const itemBytes = leastItemBytes(type);
  if (itemBytes === undefined) throw cursor.fail(`an array has items of unknown type ${type}`);
  const length = cursor.count('an array length', itemBytes === 1 ? MAX_BYTE_ITEMS : MAX_ARRAY_ITEMS);
  if (length * itemBytes > cursor.remaining) {
    throw cursor.fail(`an array claims ${length} items, more than the ${cursor.remaining} bytes left can hold`);
  }
  const items = new Array<GgufValue>(length); // allocated once: growing would copy it repeatedly
  for (let i = 0; i < length; i++) items[i] = readGgufValue(cursor, type, depth);
  return items;
}

/** Reads one value of the numbered `type`. @throws `format` on an unknown type, a lying length or a cut file. */
export function readGgufValue(cursor: ByteCursor, type: number, depth = 0): GgufValue {
  if (type === TYPE_STRING) return readGgufString(cursor);
  if (type === TYPE_ARRAY) return readArray(cursor, depth + 1);
  const scalar = SCALAR_TYPES.get(type);
  if (scalar === undefined) throw cursor.fail(`a value has unknown type ${type}`);
  return scalar.read(cursor);
}
