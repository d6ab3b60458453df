import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type ErrorCode, FloodgateError } from '../base/errors.ts';

/** The default export of a user's file. */
export type OwnFunction<Question> = (question: Question & { readonly signal: AbortSignal }) => unknown;

/** The config key that names a file, for messages. */
export interface FunctionPlace {
  readonly key: string;
  readonly code: ErrorCode;
  /** A default export as it should be. */
  readonly example: string;
}

const TYPESCRIPT = /\.[cm]?ts$/;

function unreadable(file: string, { key, code: errorCode }: FunctionPlace, cause: unknown): FloodgateError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const hint =
    code === 'ERR_UNKNOWN_FILE_EXTENSION' && TYPESCRIPT.test(file)
      ? `Node ${process.versions.node} reads no TypeScript: use Node 22.18 or later, or compile the file to JavaScript`
      : 'check the path, and that node can import the file';
  return new FloodgateError(errorCode, `${key}: cannot load ${file}: ${reason}`, { hint, cause });
}

/** The function of a file, and the hash of its bytes. @throws FloodgateError of the place for a file without one. */
export async function loadFunction<Question>(
  file: string,
  place: FunctionPlace,
): Promise<{ readonly answer: OwnFunction<Question>; readonly sha256: string }> {
  const path = resolve(file);
  try {
    const sha256 = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    const { default: answer } = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    if (typeof answer === 'function') return { answer: answer as OwnFunction<Question>, sha256 };
  } catch (cause) {
    throw unreadable(file, place, cause);
  }
  throw new FloodgateError(place.code, `${place.key}: ${file} has no function as its default export`, {
    hint: place.example,
  });
}

export interface FunctionCall<Result> {
  readonly signal: AbortSignal;
  /** Longest wait. */
  readonly seconds: number;
  /** The result in a returned value. */
  readonly read: (value: unknown) => Result;
  /** The result where there is no value. */
  readonly failed: (reason: string) => Result;
}

/**
 * Calls the function; gives up waiting for it when the time is over. A thrown error is a failure, with its message.
 * @throws the signal's reason on abort.
 */
export async function callFunction<Question extends object, Result>(
  answer: OwnFunction<Question>,
  question: Question,
  { signal: outer, seconds, read, failed }: FunctionCall<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  outer.addEventListener('abort', stop, { once: true });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Result>((resolveLate, reject) => {
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason), { once: true });
    timer = setTimeout(() => {
      resolveLate(failed(`no answer within ${seconds} s`));
      stop();
    }, seconds * 1000);
  });
  const called = (async () => read(await answer({ ...question, signal: controller.signal })))();
  try {
    return await Promise.race([called, late]);
  } catch (error) {
    outer.throwIfAborted();
    return failed(`it threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', stop);
    called.catch(() => undefined); // it may end long after nobody waits for it
  }
}
