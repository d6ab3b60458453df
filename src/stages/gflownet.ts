import { z } from 'zod';
import { count, nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { MAX_STATE_BYTES } from '../learning/checkpoints/trainer-state.ts';
import { type GflownetOptions, trainGflownet } from '../learning/loops/gflownet.ts';
import type { Objective, ObjectiveKind } from '../learning/objectives/objective.ts';
import { objectiveKinds } from '../learning/objectives/registry.ts';
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
import type { ConfigProblem } from '../runs/config/config-problems.ts';
import { loadReference } from './checkpoints.ts';
import { type Config, createSection } from './config/config.ts';
import { openAttackerPolicy, startRewarded } from './rewarded-training.ts';
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
  })
  .prefault({})
  .describe('behaviour policy: where the attacks of a batch come from');

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
  sampling,
  replay: replaySection,
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
function gflownetOptions(config: Config, section: GflownetSection): GflownetOptions {
  const { updates, warmupUpdates, decay, decayFrom, sampling: behaviour, replay } = section;
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

/** The replay buffer's sizes in this campaign. */
function bufferSizeOf({ attacker, encoder }: Campaign, { capacity, nearDuplicate }: ReplaySettings): BufferSize {
  const { tokenizer, maxTokens, config } = attacker.spec;
  return {
    capacity,
    maxTokens,
    vocabSize: Math.max(config.vocabSize, tokenizer.vocabSize),
    tokenBytes: longestTokenBytes(tokenizer),
    embeddingWidth: nearDuplicate.kind === 'cosine' ? encoder.width : 0,
  };
}

/** GFlowNet fine-tuning: from the SFT attacker, with the frozen SFT attacker as reference. */
async function train(campaign: Campaign, stage: string, config: Config, section: GflownetSection): Promise<void> {
  const { attacker, store } = campaign;
  const options = gflownetOptions(config, section);
  const { usesLogZ, pairClip } = options.objective;
  store.beginStage(stage, options.updates);
  const reference = await loadReference(campaign);
  const policy = await openAttackerPolicy(campaign, {
    logZ: usesLogZ ? (section.stopLogZGradient ? 'head-only' : 'through-trunk') : 'none',
    ...(pairClip === undefined ? {} : { pairClip }),
  });
  try {
    policy.parameters.data.set(reference.data); // the logZ head is behind it and starts at zero
    const every = section.checkpointEveryUpdates;
    const { run, reward, ledger, extra } = await startRewarded(campaign, stage, policy.parameters, every);
    const saved = (extra as { readonly buffer: unknown } | undefined)?.buffer;
    const parts = {
      attacker,
      policy,
      reference: attacker.stateOf(reference),
      buffer: saved === undefined ? createReplayBuffer(bufferOptions(section.replay)) : restoreReplayBuffer(saved),
      reward,
      ...(section.replay.nearDuplicate.kind === 'cosine' ? { embed: embedder(campaign) } : {}),
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
  const { updates, batchSize, accumulation, replay } = section;
  const rows = batchSize * accumulation;
  const fresh = Math.max(1, Math.round(rows * freshShareOf(section)));
  const everyUpdate = replay.rescore ? rows : fresh;
  const first = (replay.seedWithSft ? seeds : 0) + replay.seedWithReference;
  const tried = updates * everyUpdate + first + heldOutAttacks(config, updates);
  return { attacks: tried, tried, trainedRows: updates * rows, passRows: batchSize };
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
      assertBufferFits(bufferSizeOf(campaign, variant(campaign.config).section.replay as ReplaySettings));
    },
    run: (campaign) => {
      const { config, section } = variant(campaign.config);
      return train({ ...campaign, config }, own.name, config, section);
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
