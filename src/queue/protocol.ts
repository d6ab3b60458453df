import { z } from 'zod';
import { canonicalJson, sha256Of } from '../base/canonical-json.ts';
import { count, positiveCount } from '../base/config-fields.ts';
import type { Verdict } from '../judges/judge.ts';
import type { ModelIdentity } from '../models/model-identity.ts';
import type { TargetAnswer } from '../targets/target.ts';
import { runJob, runOutcome } from './run-job.ts';
import { MAX_SEARCHED, searchedAttack, searchJob } from './search-job.ts';
import type { Signed } from './signing.ts';

/** Both sides refuse every other version. */
export const PROTOCOL = 1;

/** The queues, by what their jobs are. A worker that is busy with a long job still takes jobs of the others. */
export const ASKS = 'asks';
export const RUNS = 'runs';
export const SEARCHES = 'searches';
export const QUEUES = [ASKS, RUNS, SEARCHES] as const;
export type QueueName = (typeof QUEUES)[number];

/** Longest payload of a job or a result, in characters. Stops whoever writes to Redis from filling the memory. */
export const MAX_PAYLOAD = 2 ** 25;
/** Longest text of an attack or a response, in characters: some megabytes as JSON, far below a payload. */
export const MAX_TEXT = 2 ** 21;
const MAX_RESPONSES = 1000;
/** Most exchanges of one job, and most judges of a run. */
const MAX_EXCHANGES = 1000;
const MAX_JUDGES = 64;

const text = z.string().max(MAX_TEXT);
const name = z.string().max(2000);
const settings = z.record(z.string(), z.unknown());

/**
 * All that decides how a run's target and judges answer: sections of its config, which the worker checks by their own
 * schemas. It names secrets at most.
 */
const descriptionSchema = z.strictObject({
  seed: count,
  threads: positiveCount.nullable(),
  target: settings,
  /** The training judge first. */
  judges: z.array(settings).min(1).max(MAX_JUDGES),
  world: settings.nullable(),
  /** Attacks on which a coarser precision is compared with fp32. */
  texts: z.array(text).max(16),
});

export type AskedDescription = z.output<typeof descriptionSchema>;

/** The target of training, or that of evaluations. */
const part = z.enum(['training', 'evaluation']);
export type TargetPart = z.output<typeof part>;

const decode = z.strictObject({ temperature: z.number(), topP: z.number(), topK: z.number(), maxNewTokens: count });

const exchange = z.strictObject({ attack: text, response: text });

const base = { version: z.literal(PROTOCOL), run: name, description: descriptionSchema };

/** Opens everything, and says what it is. */
const openJob = z.strictObject({ kind: z.literal('open'), ...base });

/** How an attack is asked: as many answers as `samples`, and the verdicts of some judges on them. */
const asking = {
  part,
  /** Identity of the weights that answered first; null where the target has none. */
  weights: name.nullable(),
  samples: z.array(count).min(1).max(MAX_RESPONSES),
  decode,
  /** Places in `description.judges`, each with the identity of its weights. */
  judges: z.array(z.strictObject({ judge: count, weights: name })).max(MAX_JUDGES),
};

const streamName = z.array(z.union([name, z.number()])).max(32);

/** One attack. */
const askJob = z.strictObject({ kind: z.literal('ask'), ...base, ...asking, attack: text, streamName });

/** The fresh attacks of an update. They are asked too, unless `asks` is null. */
const drawingJob = searchJob.extend({ ...base, asks: z.strictObject(asking).nullable() });

/** One judge on some exchanges. */
const judgeJob = z.strictObject({
  kind: z.literal('judge'),
  ...base,
  judge: count,
  weights: name,
  exchanges: z.array(exchange).min(1).max(MAX_EXCHANGES),
});

/** One whole run of a study. */
const wholeRunJob = runJob.extend({ version: z.literal(PROTOCOL), run: name });

const jobSchema = z.discriminatedUnion('kind', [openJob, askJob, judgeJob, wholeRunJob, drawingJob]);

export type AskJob = z.output<typeof askJob>;
export type JudgeJob = z.output<typeof judgeJob>;
export type RunJob = z.output<typeof wholeRunJob>;
export type SearchJob = z.output<typeof drawingJob>;
export type Job = z.output<typeof jobSchema>;
/** A job on parts that a description opens. */
export type PartsJob = Exclude<Job, RunJob>;

/** The queue of a job. */
export function queueOf({ kind }: Pick<Job, 'kind'>): QueueName {
  if (kind === 'run') return RUNS;
  return kind === 'search' ? SEARCHES : ASKS;
}

const usage = z.strictObject({
  calls: count,
  tokens: count,
  promptTokens: count.optional(),
  isEstimated: z.literal(true).optional(),
});

const answer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('text'), text, truncated: z.boolean(), usage }),
  z.strictObject({ kind: z.literal('refused'), reason: text, usage }),
  z.strictObject({ kind: z.literal('failed'), reason: text, usage }),
]) as unknown as z.ZodType<TargetAnswer>;

const verdictUsage = z.strictObject({ tokens: count }).optional();

const verdict = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('scored'),
    unsafe: z.number().min(0).max(1),
    note: text.optional(),
    usage: verdictUsage,
  }),
  z.strictObject({ kind: z.literal('unscored'), reason: text, usage: verdictUsage }),
]) as unknown as z.ZodType<Verdict>;

/** How manifests name a model. */
const identity = z.strictObject({ spec: name, sha256: name, filesSha256: name.optional() });

/** Facts of an opened target (`TargetFacts`). They are shown and stored, and nothing is opened by them. */
const targetFacts = z.strictObject({
  name,
  /** The model that answers; null for a target without one on the worker. */
  model: identity.nullable(),
  hosts: z.array(name).max(1000).nullable(),
  facts: z.looseObject({
    kind: name,
    model: name,
    sha256: name.nullable(),
    warnings: z.array(text).max(1000),
  }),
});

const judgeFacts = z.strictObject({
  name,
  /** The worker computes the verdicts itself: they cost no money. */
  isFree: z.boolean(),
  models: z.array(identity).max(100),
});

const openedResult = z.strictObject({
  kind: z.literal('opened'),
  targets: z.strictObject({ training: targetFacts, evaluation: targetFacts }),
  judges: z.array(judgeFacts).max(MAX_JUDGES),
});

export type OpenedResult = z.output<typeof openedResult>;
export type OpenedJudge = z.output<typeof judgeFacts>;
export type OpenedTarget = z.output<typeof targetFacts>;

/** A model as a result names it. */
export function identityOf({ spec, sha256, filesSha256 }: z.output<typeof identity>): ModelIdentity {
  return { spec, sha256, ...(filesSha256 === undefined ? {} : { filesSha256 }) };
}

/** The answers to one attack. */
const asked = {
  answers: z.array(answer).max(MAX_RESPONSES),
  /** A list for each asked judge: a verdict for each answer, null for one that is no text. */
  verdicts: z.array(z.array(verdict.nullable()).max(MAX_RESPONSES)).max(MAX_JUDGES),
};

const searchedResult = z.strictObject({
  kind: z.literal('searched'),
  attacks: z.array(searchedAttack.extend({ text, asked: z.strictObject(asked).nullable() })).max(MAX_SEARCHED),
});

export type SearchedResult = z.output<typeof searchedResult>;

const outcome = z.discriminatedUnion('kind', [
  openedResult,
  z.strictObject({ kind: z.literal('answers'), ...asked }),
  searchedResult,
  z.strictObject({ kind: z.literal('verdicts'), verdicts: z.array(verdict).max(MAX_EXCHANGES) }),
  runOutcome,
  /** The worker could not do it, and says why: an error of ours, its hint included. */
  z.strictObject({ kind: z.literal('error'), code: name, message: text, hint: text.nullable() }),
]);

export type Outcome = z.output<typeof outcome>;

const resultSchema = z.strictObject({ version: z.literal(PROTOCOL), job: name, worker: name, outcome });

export type JobResult = z.output<typeof resultSchema>;

/** Longest line that says how far a job is. */
const MAX_LINE = 300;

const progressSchema = z.strictObject({
  version: z.literal(PROTOCOL),
  job: name,
  line: z.string().transform((line) => line.slice(0, MAX_LINE)),
});

export type JobProgress = z.output<typeof progressSchema>;

const signedSchema = z.strictObject({ payload: z.string().max(MAX_PAYLOAD), mac: z.string().max(128).nullable() });

/** A job in Redis, with the result that a worker had after it lost the job's lock. */
const queuedSchema = signedSchema.extend({ result: signedSchema.optional() });

/** The job in a value from Redis, and its result where there is one already; undefined for anything else. */
export function parseQueued(value: unknown): { readonly job: Signed; readonly result: Signed | undefined } | undefined {
  const { data } = queuedSchema.safeParse(value);
  return data === undefined ? undefined : { job: { payload: data.payload, mac: data.mac }, result: data.result };
}

/** The signed text in a value from Redis; undefined for anything else. */
export function parseSigned(value: unknown): Signed | undefined {
  return signedSchema.safeParse(value).data;
}

/** The same for the same job, in any process: a job that is added twice is one. */
export function jobIdOf({ payload }: Signed): string {
  return `job-${sha256Of(payload).slice(0, 40)}`;
}

/** Identity of a description, for the parts that it opens. */
export function descriptionDigest(description: AskedDescription): string {
  return sha256Of(canonicalJson(description));
}

/** Identity of a judge's models: equal ones score alike. */
export function judgeWeights({ models }: Pick<OpenedJudge, 'models'>): string {
  return sha256Of(canonicalJson(models.map(({ sha256 }) => sha256)));
}

function parseText<T>(schema: z.ZodType<T>, payload: string, what: string): T | string {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return `${what} is no JSON`;
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return `${what} is of another form or version: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`;
}

/** A job of a checked payload, or why it is none. */
export function parseJob(payload: string): Job | string {
  return parseText(jobSchema, payload, 'the job');
}

/** A result of a checked payload, or why it is none. */
export function parseResult(payload: string): JobResult | string {
  return parseText(resultSchema, payload, 'the result');
}

/** How far a job is, of a checked payload, or why it is none. */
export function parseProgress(payload: string): JobProgress | string {
  return parseText(progressSchema, payload, 'the progress');
}
