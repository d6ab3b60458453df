import { z } from 'zod';
import { count, nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import type { Objective, ObjectiveKind } from '../learning/objectives/objective.ts';
import { objectiveKinds } from '../learning/objectives/registry.ts';
import { replaySection } from '../learning/replay/replay-section.ts';
import { MAX_ADAPTER_BYTES } from '../queue/search-job.ts';
import type { ConfigProblem } from '../runs/config/config-problems.ts';
import { isFreeTarget } from '../targets/registry.ts';
import { type Config, createSection } from './config/config.ts';
import { checkCompared } from './reference-draws.ts';
import type { SuccessiveRule } from './rewarded-training.ts';
import { checkWarmup, problemAt } from './stage.ts';

const sampling = z
  .strictObject({
    freshShare: share.default(0.5).describe('share of each batch that the attacker writes; the rest is replay'),
    temperedShare: share.default(0.5).describe('share of the fresh attacks drawn at a temperature from `temperatures`'),
    temperatures: z
      .strictObject({
        low: positive.default(0.5).describe('lower end'),
        high: positive.default(2).describe('upper end'),
      })
      .prefault({})
      .describe('range of the uniform draw of a tempered attack'),
    rewriteShare: share
      .default(0)
      .describe('share of the fresh attacks that rewrite a success of the buffer, token by token'),
    rewriteChange: share.default(0.3).describe('probability that a rewritten attack draws a token from the policy'),
  })
  .prefault({})
  .describe('behaviour policy: where the attacks of a batch come from');

const spread = z
  .strictObject({
    eta: nonNegative.max(10).default(0).describe('0: the reward as it is; 1: each way weighs by its reward alone'),
    n0: positive.default(1).describe('distinct successes near an attack that halve its reward at eta 1'),
    cosine: z.number().min(-1).max(1).default(0.75).describe('similarity above which a success is near'),
  })
  .prefault({})
  .describe('spreads the reward over ways: R / (1 + n / n0)^eta, n = distinct successes so far near the attack');

const screening = z
  .strictObject({
    candidates: positiveCount.max(64).default(1).describe('drawn for each attack that is tried; 1 = no screening'),
    controlShare: share.default(0.125).describe('share of the tried attacks that nobody chose, to check the choice'),
    minCorrelation: z
      .number()
      .min(-1)
      .max(1)
      .default(0.3)
      .describe('pauses while predictions and scores of the last 64 attacks have a lower rank correlation'),
  })
  .prefault({})
  .describe('chooses the attacks to try among more that are drawn, by a surrogate that learns from those tried');

const cycles = z
  .strictObject({
    count: positiveCount
      .max(100)
      .default(1)
      .describe('parts of the stage; before each but the first the policy is refitted'),
    updates: positiveCount.max(1_000_000).default(60).describe('updates of maximum likelihood in one refit'),
    learningRate: positive.default(1e-4).describe('of a refit'),
  })
  .prefault({})
  .describe('starts again from the SFT attacker, fitted to the successes found so far; asks nobody');

const responses = z
  .strictObject({
    first: positiveCount
      .max(1000)
      .optional()
      .describe('responses that each attack draws at first; all of target.responses at once when absent'),
    most: positiveCount.max(1000).default(5).describe('responses in all of an attack whose first ones succeed'),
  })
  .prefault({})
  .describe('asks little at first and more where it succeeds; its score is the mean over all its responses');

/** Settings of every registered objective that has any, under its name. */
function objectiveShape(): z.ZodRawShape {
  return Object.fromEntries(
    objectiveKinds.all().flatMap(({ name, settings }) => (settings === undefined ? [] : [[name, settings]])),
  );
}

/** The section's own keys; those of the objectives follow `replay`. */
const ownShape = {
  updates: positiveCount.max(10_000_000).default(5000).describe('optimizer updates'),
  batchSize: positiveCount.max(65_536).default(16).describe('attacks of one micro-batch'),
  accumulation: positiveCount.max(65_536).default(8).describe('micro-batches of one update'),
  learningRate: positive.default(1e-4).describe('after the warm-up'),
  logZLearningRate: positive
    .optional()
    .describe('of log Z, where the objective learns it (tb); learningRate when absent'),
  stopLogZGradient: z.boolean().default(false).describe('tb: no gradient from logZ into the adapters'),
  warmupUpdates: count.default(100).describe('updates of linear learning-rate warm-up'),
  decay: z.enum(['constant', 'linear']).default('constant').describe('learning rate after the warm-up'),
  decayFrom: share.default(0).describe('linear decay begins after this share of the updates'),
  weightDecay: nonNegative.default(0).describe('decoupled decay of AdamW'),
  gradientClip: positive.default(1).describe('largest global norm of the gradient'),
  updatesPerBatch: positiveCount
    .max(1000)
    .default(1)
    .describe('updates for each batch of fresh attacks; all but the first learn from the buffer alone and ask nobody'),
  pipeline: z
    .strictObject({
      depth: z
        .union([z.literal('auto'), count.max(16)])
        .default('auto')
        .describe(
          'batches of fresh attacks that are asked ahead: updates continue while their answers are under way; auto: 1 for a target elsewhere, 0 for one that this process computes, as many as maxLag allows where workers search',
        ),
      searches: z
        .enum(['learner', 'workers'])
        .default('learner')
        .describe(
          'who draws and screens fresh attacks: this process, or the workers of the queue, from a copy of the adapter',
        ),
      order: z
        .enum(['asked', 'arrival'])
        .default('asked')
        .describe(
          'asked: batches teach in the order of asking, so that a run repeats bit for bit; arrival: those that workers finish first',
        ),
      maxLag: positiveCount
        .max(1000)
        .default(4)
        .describe('updates by which the adapter that drew a batch may be older than the one that learns from it'),
    })
    .prefault({})
    .describe('learning while the target answers; the stated distribution stays the same'),
  responses,
  sampling,
  replay: replaySection,
  cells: z
    .strictObject({
      calls: z
        .enum(['thompson', 'equal'])
        .default('thompson')
        .describe(
          'thompson: after one batch each, more batches for the cells that yield new wordings; equal: the same number for each',
        ),
    })
    .optional()
    .describe('how batches of fresh attacks are shared among attacker.cells'),
  spread,
  screen: screening,
  cycles,
};

export type GflownetSection = z.output<z.ZodObject<typeof ownShape>> & {
  readonly objective: string;
  readonly checkpointEveryUpdates: number;
  readonly [objective: string]: unknown;
};

function gflownetSchema(): z.ZodType<GflownetSection> {
  const names = objectiveKinds.names() as [string, ...string[]];
  const words = objectiveKinds.all().map(({ name, describe }) => `${name}: ${describe}`);
  const schema = z
    .strictObject({
      objective: z.enum(names).default('tb').describe(words.join('; ')),
      ...ownShape,
      ...objectiveShape(),
      checkpointEveryUpdates: positiveCount
        .default(10)
        .describe('updates between two checkpoints; a kill loses at most this many'),
    })
    .prefault({})
    .describe('the stage that learns to sample attacks in proportion to their reward');
  return schema as unknown as z.ZodType<GflownetSection>;
}

/** Section `gflownet`; its schema is built when it is read, with every objective that is registered by then. */
export const gflownetSection = {
  ...createSection<GflownetSection>('gflownet', z.never() as never),
  get schema() {
    return gflownetSchema();
  },
};

/** The objective of a section, with its kind. */
export function objectiveOf(section: GflownetSection): { readonly kind: ObjectiveKind; readonly objective: Objective } {
  const kind = objectiveKinds.get(section.objective);
  return { kind, objective: kind.create(section[kind.name]) };
}

/** Share of each update that the attacker writes. */
export function freshShareOf(section: GflownetSection): number {
  const { kind } = objectiveOf(section);
  return kind.freshShare?.(section[kind.name]) ?? section.sampling.freshShare;
}

/** Rules between keys of the section, which no single key's type can state. */
export function checkGflownetSection(config: Config): ConfigProblem[] {
  const section = gflownetSection.of(config);
  const { objective, logZLearningRate, batchSize, accumulation, sampling: behaviour } = section;
  const { low, high } = behaviour.temperatures;
  const { kind } = objectiveOf(section);
  const problems = checkWarmup('gflownet', section);
  if (low > high) {
    problems.push(problemAt('gflownet.sampling.temperatures.low', `got ${low}, expected at most high (${high})`));
  }
  if (!kind.usesLogZ && logZLearningRate !== undefined) {
    problems.push(problemAt('gflownet.logZLearningRate', `objective ${objective} learns no log Z`));
  }
  const { seedWithReference, seedCandidates, seedCoverage } = section.replay;
  const draws = { attacks: seedWithReference, candidates: seedCandidates, coverage: seedCoverage };
  append(problems, checkCompared('gflownet.replay.seedCandidates', draws));
  const { clusters, failures } = section.replay.mix;
  if (clusters + failures > 1) {
    const what = `got ${clusters} and failures ${failures}, expected shares that add up to at most 1`;
    problems.push(problemAt('gflownet.replay.mix.clusters', what));
  }
  if (section.cells !== undefined && config.attacker.cells === undefined) {
    problems.push(problemAt('gflownet.cells', 'needs attacker.cells, which is missing'));
  }
  append(problems, responseProblems(config, section));
  append(problems, pipelineProblems(config, section));
  if (batchSize * accumulation < kind.leastRows) {
    const what = `got a single attack an update, objective ${objective} compares at least ${kind.leastRows}`;
    problems.push(problemAt('gflownet.batchSize', what));
  }
  return problems;
}

function pipelineProblems({ target, queue }: Config, section: GflownetSection): ConfigProblem[] {
  const { depth, searches, order, maxLag } = section.pipeline;
  const problem = (key: string, what: string): ConfigProblem => problemAt(`gflownet.pipeline.${key}`, what);
  if (searches === 'learner') {
    const isHere = queue === undefined && isFreeTarget(target);
    const isDeep = depth !== 'auto' && depth > 0 && isHere;
    return [
      ...(isDeep
        ? [problem('depth', `got ${depth}: only a target elsewhere answers while this process computes`)]
        : []),
      ...(order === 'arrival'
        ? [problem('order', 'got arrival: only searches of workers arrive; set searches: workers')]
        : []),
    ];
  }
  if (queue === undefined)
    return [problem('searches', 'got workers without a queue: set queue.url, or searches: learner')];
  if (depth === 0) return [problem('depth', 'got 0, workers search ahead: set depth at least 1, or searches: learner')];
  const lag = aheadOf(section) * section.updatesPerBatch;
  if (lag <= maxLag) return [];
  const what = `got ${maxLag}: depth and updatesPerBatch make batches ${lag} updates old; raise it, or lower them`;
  return [problem('maxLag', what)];
}

/**
 * Refuses an attacker that is too large to be published at each update.
 * @param bytes of its trained numbers. @throws FloodgateError `config`.
 */
export function assertPublishable({ pipeline: { searches } }: GflownetSection, bytes: number): void {
  if (searches === 'learner' || bytes <= MAX_ADAPTER_BYTES) return;
  const what = `got workers, which are sent ${bytes} bytes at each update, expected at most ${MAX_ADAPTER_BYTES}`;
  throw new FloodgateError('config', `gflownet.pipeline.searches: ${what}`, {
    hint: 'set attacker.method: lora, a lower attacker.lora.rank, or gflownet.pipeline.searches: learner',
  });
}

/** Batches under way while workers search. */
export function aheadOf({ pipeline: { depth, maxLag }, updatesPerBatch }: GflownetSection): number {
  return depth === 'auto' ? Math.max(1, Math.floor(maxLag / updatesPerBatch)) : depth;
}

function responseProblems({ target }: Config, { responses: { first, most } }: GflownetSection): ConfigProblem[] {
  if (first === undefined) return [];
  const key = 'gflownet.responses.most';
  if (target.decode.temperature === 0) return [problemAt(key, 'at temperature 0 every response is the same')];
  return first < most ? [] : [problemAt(key, `got ${most}, expected more than first (${first})`)];
}

/** The responses of training when more are asked for where it pays; undefined when each attack draws as many. */
export function successiveResponses({ responses: { first, most } }: GflownetSection): SuccessiveRule | undefined {
  return first === undefined ? undefined : { first, most };
}
