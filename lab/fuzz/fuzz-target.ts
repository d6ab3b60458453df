import type { ErrorCode } from '../../src/base/errors.ts';
import type { RandomStream } from '../../src/base/random.ts';

/** One parser under fire. */
export interface FuzzTarget {
  readonly name: string;
  /** The only error codes that a hostile input may be answered with. */
  readonly codes: readonly ErrorCode[];
  /**
   * Bytes that a parse may allocate beyond four times its input, garbage included: objects for the values of a small
   * text, error objects, schema, file buffers. About twice the most that was measured.
   */
  readonly baseBytes: number;
  /** One hostile input, a pure function of the stream. */
  make(stream: RandomStream): FuzzInput;
  /** Parses it inside `folder`, which is empty and the parser's own. Throws what the parser throws. */
  parse(input: FuzzInput, folder: string): Promise<void>;
  /** What must hold after every parse, refused or not; throws when it does not. Clears what the parse has written. */
  check?(folder: string): void;
}

export interface FuzzInput {
  readonly bytes: Buffer;
  /** What else the parser is told, e.g. the format of the seeds. */
  readonly variant: number;
}

export function pick<T>(stream: RandomStream, items: readonly T[]): T {
  return items[stream.nextInt(items.length)] as T;
}
