import type { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { classifier } from './classifier-judge.ts';
import { ensemble } from './ensemble-judge.ts';
import { guardApi } from './guard-api-judge.ts';
import { guard } from './guard-judge.ts';
import { http } from './http-judge.ts';
import {
  defineJudgeKind,
  type Judge,
  type JudgeConfig,
  type JudgeDefinition,
  type JudgeHost,
  type JudgeKind,
} from './judge.ts';
import { anyJudge, judgeKinds, judgeSchema } from './judge-kinds.ts';
import { lexicon } from './lexicon-judge.ts';
import { masked } from './masked-judge.ts';
import { moderation } from './moderation-judge.ts';
import { moduleJudge } from './module-judge.ts';
import { profanity } from './profanity-judge.ts';
import { rubric } from './rubric-judge.ts';
import { toxBlock } from './tox-block-judge.ts';

/** The kinds that ship with Floodgate, in the order of the docs. A new kind is one file and one entry here. */
const BUILT_IN: readonly JudgeKind[] = [
  profanity,
  toxBlock,
  lexicon,
  classifier,
  guard,
  guardApi,
  rubric,
  moderation,
  http,
  moduleJudge,
  masked,
  ensemble,
];

for (const kind of BUILT_IN) judgeKinds.add(kind);

export { anyJudge, judgeKinds, judgeSchema };

/**
 * Adds a kind of judge; every config may name it from then on, inside `masked` and `ensemble` too.
 * @throws FloodgateError `usage` when the name is taken or is not lower case letters, digits and dashes.
 */
export function defineJudge<Fields extends z.ZodRawShape>(definition: JudgeDefinition<Fields>): JudgeKind {
  const kind: JudgeKind = defineJudgeKind(definition);
  judgeKinds.add(kind);
  return kind;
}

/** The judge with its calls in a row: sessions on this machine keep state from one batch to the next. */
function oneAtATime(judge: Judge): Judge {
  let last: Promise<unknown> = Promise.resolve();
  return {
    ...judge,
    score: (exchanges, options) => {
      const next = last.then(() => judge.score(exchanges, options));
      last = next.catch(() => undefined);
      return next;
    },
  };
}

/**
 * Opens the judge of `config`; close it when done. Defaults are filled in. `host.models` opens the models of
 * `classifier` and `guard`.
 * @throws FloodgateError `config` for a config that its kind refuses, `usage` for an unknown kind, `judge` for a
 * damaged asset, or any error of `host.models`.
 */
export async function openJudge(config: JudgeConfig, host: JudgeHost): Promise<Judge> {
  const kind = judgeKinds.get(config.kind);
  const parsed = kind.schema.safeParse(config);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const key = [config.kind, ...(issue?.path ?? [])].join('.');
    throw new FloodgateError('config', `open judge: ${key}: ${issue?.message ?? 'invalid'}`);
  }
  const judge = await kind.open(parsed.data as JudgeConfig, {
    ...host,
    openJudge: (nested) => openJudge(nested, host),
  });
  return judge.isConcurrent === true ? judge : oneAtATime(judge);
}
