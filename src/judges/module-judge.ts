import { basename } from 'node:path';
import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { redactSecrets } from '../base/errors.ts';
import { breakAfter, createBreaker } from '../wire/breaker.ts';
import { callFunction, type FunctionPlace, loadFunction } from '../wire/own-function.ts';
import { excerptOfValue } from '../wire/wire-failure.ts';
import { defineJudgeKind, type Exchange, judgeOwnName, toVerdict, unscored, type Verdict } from './judge.ts';
import { judgedHead } from './judged-words.ts';
import { createConcurrentJudge, waitFields } from './wire-judge.ts';

const fields = {
  file: line.describe('a file of JavaScript or TypeScript; ./ counts from the config file'),
  name: judgeOwnName,
  ...waitFields,
};

const PLACE: FunctionPlace = {
  key: 'judge.file',
  code: 'judge',
  example: 'export default async ({ attack, response, signal }) => 0.5',
};

const answerSchema = z.union([
  z.number().transform((unsafe) => ({ unsafe, reason: undefined })),
  z.looseObject({ unsafe: z.union([z.number(), z.boolean()]).nullable(), reason: z.string().nullish() }),
]);

/** The verdict in an answer of a user's function; `unscored` for an answer that is none. */
function readAnswer(value: unknown, name: string): Verdict {
  const parsed = answerSchema.safeParse(value);
  if (!parsed.success) {
    return unscored(
      redactSecrets(`${name}: it returned ${excerptOfValue(value)}, expected a number or { unsafe, reason }`),
    );
  }
  const { unsafe, reason } = parsed.data as { unsafe: number | boolean | null; reason?: string | null };
  if (unsafe === null) return unscored(redactSecrets(`${name}: ${reason ?? 'it could not score'}`));
  const verdict = toVerdict(Number(unsafe), name);
  const isNoted = verdict.kind === 'scored' && typeof reason === 'string' && reason !== '';
  return isNoted ? { ...verdict, note: redactSecrets(reason) } : verdict;
}

/** A verdict, and why there was no answer to read it from. */
interface Outcome {
  readonly verdict: Verdict;
  readonly fault: string | undefined;
}

function moduleName({ name, file }: { readonly name?: string | undefined; readonly file: string }): string {
  return name ?? `module/${basename(file)}`;
}

export const moduleJudge = defineJudgeKind({
  name: 'module',
  describe: 'a file whose default export judges: async ({ attack, response, signal }) => number or { unsafe, reason }',
  fields,
  codeKeys: ['file'],
  nameOf: moduleName,
  open: async (config) => {
    const { file, timeoutSeconds: seconds, concurrency } = config;
    const name = moduleName(config);
    const { answer, sha256 } = await loadFunction<Exchange>(file, PLACE);
    const breaker = createBreaker(name, breakAfter(concurrency));
    const read = (value: unknown): Outcome => ({ verdict: readAnswer(value, name), fault: undefined });
    const failed = (reason: string): Outcome => {
      const fault = redactSecrets(`${name}: ${reason}`);
      return { verdict: unscored(fault), fault };
    };
    return createConcurrentJudge({
      name,
      concurrency,
      models: [{ spec: `module ${basename(file)}`, sha256 }],
      scoreOne: async ({ attack, response }, { signal, limited }) => {
        const exchange = { attack: judgedHead(attack), response: judgedHead(response) };
        const call = { signal, seconds, read, failed };
        const { verdict, fault } = await limited(() => callFunction(answer, exchange, call));
        if (fault === undefined) breaker.succeeded();
        else breaker.failed(fault); // a function that fails at every exchange stops the work
        return verdict;
      },
    });
  },
});
