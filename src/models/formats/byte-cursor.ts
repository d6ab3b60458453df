import { FloodgateError } from '../../base/errors.ts';

/** The bytes at hand end before the file does: read a longer prefix and parse again. Never leaves the format readers. */
export class PrefixTooShort extends Error {}

/** A name of megabytes that the message about it would carry. */
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
