import type { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { type Breaker, breakAfter, createBreaker } from '../wire/breaker.ts';
import { callFunction, type FunctionPlace, loadFunction, type OwnFunction } from '../wire/own-function.ts';
import { heed, type OwnQuestion, ownQuestion, readOwnAnswer } from './own-answer.ts';
import { checkAnswers, concurrency, timeoutSeconds } from './remote-fields.ts';
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
  checkAnswers,
};

type ModuleConfig = z.output<z.ZodObject<typeof fields>> & Pick<TargetConfig, 'kind' | 'decode' | 'responses'>;

/** Where a module is named, and its shape. */
const PLACE: FunctionPlace = {
  key: 'target.file',
  code: 'target',
  example: 'export default async ({ attack, signal }) => "the answer"',
};

type AnswerFunction = OwnFunction<OwnQuestion>;

const ask = (answer: AnswerFunction, question: OwnQuestion, signal: AbortSignal, seconds: number) =>
  callFunction(answer, question, {
    signal,
    seconds,
    read: (value): TargetAnswer => readOwnAnswer(value, question.maxTokens),
    failed: failedAnswer,
  });

async function answerAll(
  parts: {
    readonly answer: AnswerFunction;
    readonly breaker: Breaker;
    readonly seed: number;
    readonly seconds: number;
  },
  request: TargetRequest,
  { samples, decode, signal, limiter, arrived }: Answering,
): Promise<TargetAnswer[]> {
  const { answer, breaker, seed, seconds } = parts;
  const one = async (response: number): Promise<TargetAnswer> => {
    const question = ownQuestion(request, response, decode, seed);
    return heed(breaker, await limiter.run(() => ask(answer, question, signal, seconds), signal));
  };
  return Promise.all(samples.map(async (sample, at) => arrived(await one(sample), at)));
}

async function plan(config: ModuleConfig, { seed, signal }: TargetHost): Promise<PlannedTarget> {
  const { kind, file, decode, timeoutSeconds: seconds, concurrency: limit } = config;
  const { answer, sha256 } = await loadFunction<OwnQuestion>(file, PLACE);
  const harmless = ownQuestion({ attack: HARMLESS_PROMPT, streamName: ['check'] }, 0, decode, seed);
  const first = await ask(answer, harmless, signal, seconds);
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
  codeKeys: ['file'],
  plan,
});
