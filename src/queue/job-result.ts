import { type ErrorCode, FloodgateError, redactSecrets } from '../base/errors.ts';
import { type JobResult, type Outcome, parseProgress, parseResult } from './protocol.ts';
import type { Signed, Signer } from './signing.ts';

/** Codes of our errors that a worker may send; any other becomes `run`. */
const KNOWN_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  ...(['usage', 'config', 'format', 'model', 'source', 'graph', 'runtime', 'target', 'judge', 'world'] as const),
]);

/** Longest words of somebody else that an error repeats. */
const MOST_WORDS = 2000;

const words = (text: string): string => redactSecrets(text.slice(0, MOST_WORDS));

/** Why BullMQ gave a job up: its worker refused it, or it was begun too often. */
export function givenUp(reason: string | undefined): FloodgateError {
  return new FloodgateError('run', `queue: a job was given up: ${words(reason ?? 'no reason was given')}`, {
    hint: 'the workers print why they refuse a job: another key, another version, or a job that they may not do',
  });
}

export function workerError(
  worker: string,
  { code, message, hint }: Extract<Outcome, { kind: 'error' }>,
): FloodgateError {
  const known = KNOWN_CODES.has(code) ? (code as ErrorCode) : 'run';
  return new FloodgateError(known, `worker ${words(worker)}: ${words(message)}`, {
    ...(hint === null ? {} : { hint: `on the worker: ${words(hint)}` }),
  });
}

/** The result of a job, or why it is none: unsigned, of another form, or of another job. */
export function checkedResult(id: string, signed: Signed, signer: Signer): JobResult | string {
  const problem = signer.problemOf('result', signed);
  if (problem !== undefined) return problem;
  const result = parseResult(signed.payload);
  if (typeof result === 'string') return result;
  return result.job === id ? result : 'it belongs to another job';
}

/** How far a job is, as its worker says; undefined for what is not signed, or is of another job. */
export function checkedProgress(id: string, signed: Signed, signer: Signer): string | undefined {
  if (signer.problemOf('progress', signed) !== undefined) return undefined;
  const progress = parseProgress(signed.payload);
  return typeof progress === 'string' || progress.job !== id ? undefined : progress.line;
}
