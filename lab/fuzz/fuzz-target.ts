import { type ErrorCode, FloodgateError } from '../../src/base/errors.ts';
import { type RandomStream, randomStream } from '../../src/base/random.ts';

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
  /** Throws when a parse, refused or not, broke a promise. Removes the files that the parse wrote. */
  check?(folder: string): void;
}

export interface FuzzInput {
  readonly bytes: Buffer;
  /** A further choice for the parser, e.g. the format of the seeds. */
  readonly variant: number;
}

export function pick<T>(stream: RandomStream, items: readonly T[]): T {
  return items[stream.nextInt(items.length)] as T;
}

/** The outcome of one input; `fault` is absent when the parser kept its promises. */
export interface Shot {
  readonly outcome: 'parsed' | 'refused' | 'fault';
  readonly fault?: string;
}

/** Input number `index` of a target; the same for the same seed, everywhere. */
export function inputOf(target: FuzzTarget, seed: number, index: number): FuzzInput {
  return target.make(randomStream(seed, 'fuzz', target.name, index));
}

function faultOf(error: unknown, target: FuzzTarget): string | undefined {
  if (error instanceof FloodgateError) {
    return target.codes.includes(error.code) ? undefined : `error code ${error.code}: ${error.message.slice(0, 300)}`;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `not an error of ours: ${text.slice(0, 1_500)}`;
}

/** Keys that every object has got from a parse: a write into `Object.prototype`. Removes them. */
function inheritedKeys(): string[] {
  const keys: string[] = [];
  for (const key in {}) keys.push(key);
  for (const key of keys) Reflect.deleteProperty(Object.prototype, key);
  return keys;
}

/** Parses one input and says whether the answer was a proper one. */
export async function fire(target: FuzzTarget, input: FuzzInput, folder: string): Promise<Shot> {
  let shot: Shot = { outcome: 'parsed' };
  try {
    await target.parse(input, folder);
  } catch (error) {
    const fault = faultOf(error, target);
    shot = fault === undefined ? { outcome: 'refused' } : { outcome: 'fault', fault };
  }
  const planted = inheritedKeys();
  if (planted.length > 0) return { outcome: 'fault', fault: `wrote into Object.prototype: ${planted.join(', ')}` };
  try {
    target.check?.(folder);
  } catch (error) {
    return { outcome: 'fault', fault: String(error) };
  }
  return shot;
}
