import { z } from 'zod';
import { count, nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import { MAX_STATE_BYTES } from '../learning/checkpoints/trainer-state.ts';
import { type GflownetOptions, trainGflownet } from '../learning/loops/gflownet.ts';
import type { Objective, ObjectiveKind } from '../learning/objectives/objective.ts';
import { objectiveKinds } from '../learning/objectives/registry.ts';
import { MAX_SURROGATE_ROWS, Surrogate, type SurrogateState } from '../learning/proposals/surrogate.ts';
import { createReplayBuffer } from '../learning/replay/replay-buffer.ts';
import {
  type BufferSize,
  fittingCapacity,
  largestBufferBytes,
  longestTokenBytes,
} from '../learning/replay/replay-buffer-size.ts';
import { restoreReplayBuffer } from '../learning/replay/replay-buffer-state.ts';
import { bufferOptions, type ReplaySettings, replayBy, replaySection } from '../learning/replay/replay-section.ts';
import { referenceRule, rewardRule } from '../learning/reward/reward-section.ts';
import { POOL_CAPACITY, SuccessPool } from '../learning/reward/spread.ts';
import type { ConfigProblem } from '../runs/config/config-problems.ts';
import { loadReference } from './checkpoints.ts';
import { type Config, createSection } from './config/config.ts';
import { openAttackerPolicy, startRewarded, withMeasuredCap } from './rewarded-training.ts';
import { seedBuffer } from './seed-buffer.ts';
import { type Campaign, checkWarmup, problemAt, type Stage, type StageWork } from './stage.ts';
import { heldOutAttacks } from './watch.ts';

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
  sampling,
  replay: replaySection,
  spread,
  screen: screening,
  cycles,
};

type GflownetSection = z.output<z.ZodObject<typeof ownShape>> & {
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
function objectiveOf(section: GflownetSection): { readonly kind: ObjectiveKind; readonly objective: Objective } {
  const kind = objectiveKinds.get(section.objective);
  return { kind, objective: kind.create(section[kind.name]) };
}

function freshShareOf(section: GflownetSection): number {
  const { kind } = objectiveOf(section);
  return kind.freshShare?.(section[kind.name]) ?? section.sampling.freshShare;
}

/** The loop's options as the config has them. */
function gflownetOptions(config: Config, section: GflownetSection, reference: ParameterVector): GflownetOptions {
  const { updates, warmupUpdates, decay, decayFrom, sampling: behaviour, replay, spread: over } = section;
  const rate = (peak: number) => ({ peak, warmupUpdates, decay, decayFrom, totalUpdates: updates });
  return {
    objective: objectiveOf(section).objective,
    updates,
    batchSize: section.batchSize,
    accumulation: section.accumulation,
    learningRate: rate(section.learningRate),
    logZLearningRate: rate(section.logZLearningRate ?? section.learningRate),
    gradientClip: section.gradientClip,
    weightDecay: section.weightDecay,
    reward: rewardRule(config.reward),
    ...referenceRule(config.reward, config.attacker.minTokens),
    freshShare: freshShareOf(section),
    temperedShare: behaviour.temperedShare,
    temperatures: behaviour.temperatures,
    rewriteShare: behaviour.rewriteShare,
    rewriteChange: behaviour.rewriteChange,
    updatesPerBatch: section.updatesPerBatch,
    ...(over.eta > 0 ? { spread: over } : {}),
    ...(section.screen.candidates > 1 ? { screen: section.screen } : {}),
    ...(section.cycles.count > 1 ? { cycles: { ...section.cycles, start: reference.data } } : {}),
    replayBy: replayBy(replay as ReplaySettings),
    rescoreReplay: replay.rescore,
    seed: config.seed,
  };
}

/** Sentence embeddings one by one, as the buffer keeps them. */
function embedder({ encoder }: Campaign): (texts: readonly string[]) => Promise<Float32Array[]> {
  return async (texts) => {
    const flat = await encoder.embed(texts);
    const width = flat.length / Math.max(1, texts.length);
    return texts.map((_, i) => flat.slice(i * width, (i + 1) * width));
  };
}

/**
 * Refuses a capacity whose full buffer might not fit into a checkpoint: training would be lost when it is saved.
 * @throws FloodgateError `config`.
 */
export function assertBufferFits(size: BufferSize): void {
  const bytes = largestBufferBytes(size);
  if (bytes <= MAX_STATE_BYTES) return;
  const what = `${size.capacity} attacks of ${size.maxTokens} tokens may take ${bytes} bytes in a checkpoint`;
  throw new FloodgateError('config', `gflownet.replay.capacity: ${what}, expected at most ${MAX_STATE_BYTES}`, {
    hint: `set gflownet.replay.capacity to at most ${fittingCapacity(size, MAX_STATE_BYTES)}, or lower attacker.maxTokens`,
  });
}

function needsEmbeddings({ replay, spread: over, screen }: GflownetSection): boolean {
  return replay.nearDuplicate.kind === 'cosine' || over.eta > 0 || screen.candidates > 1;
}

/** Sizes of the replay buffer and the pool in this campaign. */
function bufferSizeOf({ attacker, encoder }: Campaign, section: GflownetSection): BufferSize {
  const { tokenizer, maxTokens, config } = attacker.spec;
  return {
    // An entry of the pool or the surrogate is smaller than one of the buffer.
    capacity:
      section.replay.capacity +
      (section.spread.eta > 0 ? POOL_CAPACITY : 0) +
      (section.screen.candidates > 1 ? MAX_SURROGATE_ROWS : 0),
    maxTokens,
    vocabSize: Math.max(config.vocabSize, tokenizer.vocabSize),
    tokenBytes: longestTokenBytes(tokenizer),
    embeddingWidth: needsEmbeddings(section) ? encoder.width : 0,
  };
}

function openPool(saved: unknown): SuccessPool {
  return saved === undefined ? new SuccessPool() : SuccessPool.from(saved);
}

/** GFlowNet fine-tuning: from the SFT attacker, with the frozen SFT attacker as reference. */
async function train(campaign: Campaign, stage: string, section: GflownetSection): Promise<void> {
  const { attacker, store } = campaign;
  store.beginStage(stage, section.updates);
  const reference = await loadReference(campaign);
  const options = gflownetOptions(await withMeasuredCap(campaign, reference), section, reference);
  const { usesLogZ, pairClip } = options.objective;
  const policy = await openAttackerPolicy(campaign, {
    logZ: usesLogZ ? (section.stopLogZGradient ? 'head-only' : 'through-trunk') : 'none',
    ...(pairClip === undefined ? {} : { pairClip }),
  });
  try {
    policy.parameters.data.set(reference.data); // the logZ head is behind it and starts at zero
    const every = section.checkpointEveryUpdates;
    const { run, reward, ledger, extra } = await startRewarded(campaign, stage, policy.parameters, every);
    const saved = extra as
      | { readonly buffer: unknown; readonly pool?: unknown; readonly surrogate?: SurrogateState }
      | undefined;
    const parts = {
      attacker,
      policy,
      reference: attacker.stateOf(reference),
      buffer:
        saved === undefined ? createReplayBuffer(bufferOptions(section.replay)) : restoreReplayBuffer(saved.buffer),
      reward,
      ...(options.spread === undefined ? {} : { pool: openPool(saved?.pool) }),
      ...(options.screen === undefined ? {} : { surrogate: new Surrogate(options.seed, saved?.surrogate) }),
      ...(needsEmbeddings(section) ? { embed: embedder(campaign) } : {}),
    };
    if (saved === undefined) await seedBuffer({ campaign, stage, parts, options, replay: section.replay, ledger });
    await trainGflownet(parts, options, run);
    store.endStage(stage, 'done');
  } finally {
    await policy.close();
  }
}

/** Attacks that the stage tries: fresh ones, replayed ones scored again, the buffer's first, and held-out ones. */
function workOf(config: Config, section: GflownetSection, seeds: number): StageWork {
  const { updates, batchSize, accumulation, replay, updatesPerBatch } = section;
  const rows = batchSize * accumulation;
  const fresh = Math.max(1, Math.round(rows * freshShareOf(section)));
  const batches = Math.ceil(updates / updatesPerBatch);
  const inTraining = replay.rescore ? updates * rows : batches * fresh;
  const first = (replay.seedWithSft ? seeds : 0) + replay.seedWithReference;
  const tried = inTraining + first + heldOutAttacks(config, updates);
  const refitted = (section.cycles.count - 1) * section.cycles.updates * batchSize;
  return { attacks: tried, tried, trainedRows: updates * rows + refitted, passRows: batchSize };
}

function checkSection(config: Config): ConfigProblem[] {
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
  if (batchSize * accumulation < kind.leastRows) {
    const what = `got a single attack an update, objective ${objective} compares at least ${kind.leastRows}`;
    problems.push(problemAt('gflownet.batchSize', what));
  }
  return problems;
}

/** A stage of the GFlowNet's family. `variant` gives the config and section that it sees. */
export function gflownetStage(
  own: Pick<Stage, 'name' | 'words'>,
  variant: (config: Config) => { readonly config: Config; readonly section: GflownetSection },
): Stage {
  return {
    ...own,
    needs: ['sft'],
    sections: [gflownetSection],
    knowsTarget: 'learns',
    hasDensity: true,
    check: checkSection,
    plan: (whole, { seeds }) => {
      const { config, section } = variant(whole);
      return workOf(config, section, seeds);
    },
    checkModels: (campaign) => {
      assertBufferFits(bufferSizeOf(campaign, variant(campaign.config).section));
    },
    run: (campaign) => {
      const { config, section } = variant(campaign.config);
      return train({ ...campaign, config }, own.name, section);
    },
  };
}

/** How the attackers that seek every kind of attack learned, for the report. */
export const MANY_KINDS =
  'first by imitating examples, then by trial and error, with a method (GFlowNet fine-tuning) that rewards finding many kinds of message, not one over and over';

/** The paper's attacker: it samples attacks in proportion to their reward. */
export const gflownet = gflownetStage(
  {
    name: 'gflownet',
    words: {
      lead: 2,
      label: 'GFlowNet',
      explain: 'Trained by trial and error to write every kind of successful message, each as often as it deserves.',
      learning: MANY_KINDS,
    },
  },
  (config) => ({ config, section: gflownetSection.of(config) }),
);
