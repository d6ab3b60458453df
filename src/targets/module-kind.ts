import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { type Breaker, breakAfter, createBreaker } from '../wire/breaker.ts';
import { heed, type OwnQuestion, ownQuestion, readOwnAnswer } from './own-answer.ts';
import { concurrency, timeoutSeconds } from './remote-fields.ts';
import { type Answering, createRemoteTarget, failedAnswer } from './remote-target.ts';
import type { TargetAnswer, TargetRequest } from './target.ts';
import {
  createTargetKind,
  HARMLESS_PROMPT,
  NO_MODEL_FACTS,
  type PlannedTarget,
  type TargetConfig,
  type TargetHost,
} from './target-kind.ts';

const fields = {
  file: line.describe('a file of JavaScript or TypeScript; ./ counts from the config file'),
  timeoutSeconds,
  concurrency,
};

type ModuleConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

/** The default export of a module. */
type AnswerFunction = (question: OwnQuestion & { readonly signal: AbortSignal }) => unknown;

const TYPESCRIPT = /\.[cm]?ts$/;

function unreadable(file: string, cause: unknown): FloodgateError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const hint =
    code === 'ERR_UNKNOWN_FILE_EXTENSION' && TYPESCRIPT.test(file)
      ? `Node ${process.versions.node} reads no TypeScript: use Node 22.18 or later, or compile the file to JavaScript`
      : 'check the path, and that node can import the file';
  return new FloodgateError('target', `target.file: cannot load ${file}: ${reason}`, { hint, cause });
}

/** The function of a file, and the hash of its bytes. @throws FloodgateError `target` for a file without one. */
async function loadFunction(file: string): Promise<{ readonly answer: AnswerFunction; readonly sha256: string }> {
  const path = resolve(file);
  try {
    const sha256 = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    const { default: answer } = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    if (typeof answer === 'function') return { answer: answer as AnswerFunction, sha256 };
  } catch (cause) {
    throw unreadable(file, cause);
  }
  throw new FloodgateError('target', `target.file: ${file} has no function as its default export`, {
    hint: 'export default async ({ attack, signal }) => "the answer"',
  });
}

/** Calls the function; gives up waiting for it when the time is over. A thrown error is a failure, with its message. */
async function callFunction(
  answer: AnswerFunction,
  question: OwnQuestion,
  outer: AbortSignal,
  seconds: number,
): Promise<TargetAnswer> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  outer.addEventListener('abort', stop, { once: true });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<TargetAnswer>((resolveLate, reject) => {
    controller.signal.addEventListener('abort', () => reject(controller.signal.reason), { once: true });
    timer = setTimeout(() => {
      resolveLate(failedAnswer(`no answer within ${seconds} s`));
      stop();
    }, seconds * 1000);
  });
  const called = (async () =>
    readOwnAnswer(await answer({ ...question, signal: controller.signal }), question.maxTokens))();
  try {
    return await Promise.race([called, late]);
  } catch (error) {
    outer.throwIfAborted();
    return failedAnswer(`it threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', stop);
    called.catch(() => undefined); // it may end long after nobody waits for it
  }
}

async function answerAll(
  parts: {
    readonly answer: AnswerFunction;
    readonly breaker: Breaker;
    readonly seed: number;
    readonly seconds: number;
  },
  request: TargetRequest,
  { responses, decode, signal, limiter }: Answering,
): Promise<TargetAnswer[]> {
  const { answer, breaker, seed, seconds } = parts;
  const one = async (response: number): Promise<TargetAnswer> => {
    const question = ownQuestion(request, response, decode, seed);
    return heed(breaker, await limiter.run(() => callFunction(answer, question, signal, seconds), signal));
  };
  return Promise.all(Array.from({ length: responses }, (_, i) => one(i)));
}

async function plan(config: ModuleConfig, { seed, signal }: TargetHost): Promise<PlannedTarget> {
  const { kind, file, decode, timeoutSeconds: seconds, concurrency: limit } = config;
  const { answer, sha256 } = await loadFunction(file);
  const harmless = ownQuestion({ attack: HARMLESS_PROMPT, streamName: ['check'] }, 0, decode, seed);
  const first = await callFunction(answer, harmless, signal, seconds);
  if (first.kind === 'failed')
    throw new FloodgateError('target', `target.file: ${file}, asked ${HARMLESS_PROMPT}: ${first.reason}`, {
      hint: 'the default export gets { attack, signal } and returns a text or { text, refused, usage }',
    });
  const facts = { ...NO_MODEL_FACTS, kind, model: `module ${file}`, sha256 };
  const name = `module/${file}`;
  const open = async () => {
    const breaker = createBreaker(name, breakAfter(limit));
    const target = createRemoteTarget({
      name,
      concurrency: limit,
      answer: (request, answering) => answerAll({ answer, breaker, seed, seconds }, request, answering),
      release: async () => undefined,
    });
    return { target, facts, hosts: [], checkpoint: undefined, close: () => target.close() };
  };
  return { facts, hosts: [], open };
}

/** A function of a user's file, in this process. */
export const moduleKind = createTargetKind({
  name: 'module',
  describe: 'a file whose default export answers: async ({ attack, signal }) => text or { text, refused, usage }',
  fields,
  pathKeys: ['file'],
  plan,
});
