import { silentProgress } from '../../src/base/progress.ts';
import { createAdamWState } from '../../src/engine/optimizer/adamw.ts';
import { AskedBatches } from '../../src/learning/loops/asked-batches.ts';
import { type GflownetOptions, trainGflownet } from '../../src/learning/loops/gflownet.ts';
import { type Objective, slopeClips } from '../../src/learning/objectives/objective.ts';
import type { MixRule } from '../../src/learning/replay/mixed-draw.ts';
import { createReplayBuffer } from '../../src/learning/replay/replay-buffer.ts';
import { WordingClusters } from '../../src/learning/replay/wording-clusters.ts';
import type { PolicySession } from '../../src/models/decoder/policy-session.ts';
import { totalVariation } from '../../src/worlds/exact-sampler.ts';
import type { AlarmCount, EnumerableWorld } from './enumerable-world.ts';

export interface EnumerableTraining {
  readonly objective: Objective;
  readonly updates: number;
  /** Rows of an update: a quarter at temperature 1, a quarter tempered, half drawn uniformly from the replay buffer. */
  readonly batchSize: number;
  readonly learningRate: number;
  readonly logZLearningRate: number;
  /** Share of the updates after which the learning rates fall linearly to 0. */
  readonly decayFrom: number;
  /** Sampled responses behind each score; the noise-free score when absent. */
  readonly responses?: number;
  /** Updates for each fresh batch, 1 when absent. */
  readonly updatesPerBatch?: number;
  /** Batches that are asked ahead; 0 when absent. */
  readonly askedAhead?: number;
  /** Share of the fresh attacks that rewrite a success, 0 when absent. */
  readonly rewriteShare?: number;
  /** Draws replay by several shares, uniformly when absent. */
  readonly mix?: MixRule;
  /** Learns for this beta in place of the world's: a wrong reward on purpose. */
  readonly beta?: number;
  readonly seed: number;
}

/** With these, every objective reaches the exact posterior of the default world: docs/exactness.md has the figures. */
export const ENUMERABLE_TRAINING: Omit<EnumerableTraining, 'objective' | 'seed'> = {
  updates: 1600,
  batchSize: 128,
  learningRate: 2e-3,
  logZLearningRate: 0.01,
  decayFrom: 0.4,
};

/** How far a trained policy is from the truth. */
export interface SamplerError {
  /** Total variation to the exact posterior, over every sequence. */
  readonly totalVariation: number;
  /** Learned log Z minus the exact one, nats; undefined for objectives that learn none. */
  readonly logZError: number | undefined;
}

const WARMUP_UPDATES = 20;
const BUFFER_CAPACITY = 3000;

function gflownetOptions(world: EnumerableWorld, training: EnumerableTraining): GflownetOptions {
  const { objective, updates, batchSize, decayFrom, seed } = training;
  const rate = (peak: number) =>
    ({ peak, warmupUpdates: WARMUP_UPDATES, decay: 'linear', decayFrom, totalUpdates: updates }) as const;
  const constantly1 = { from: 1, to: 1, updates: 0 };
  return {
    objective,
    updates,
    batchSize,
    accumulation: 1,
    learningRate: rate(training.learningRate),
    logZLearningRate: rate(training.logZLearningRate),
    gradientClip: 1,
    weightDecay: 0,
    reward: { beta: training.beta ?? world.options.beta, gamma: constantly1, temperature: constantly1 },
    fluency: { form: { kind: 'sum' }, minTokens: world.attacker.spec.minTokens, shortPenalty: 0 },
    truncationPenalty: false,
    freshShare: 0.5,
    temperedShare: 0.5,
    temperatures: { low: 0.5, high: 2 },
    rewriteShare: training.rewriteShare ?? 0,
    rewriteChange: 0.3,
    updatesPerBatch: training.updatesPerBatch ?? 1,
    askedAhead: training.askedAhead ?? 0,
    replayBy: 'uniform',
    ...(training.mix === undefined ? {} : { mix: training.mix }),
    rescoreReplay: false,
    seed,
  };
}

/** Attacks that share three of four words are of one cluster. */
const CLUSTER_COSINE = 0.7;
const WORD_BINS = 64;

/** A bag of words [64], L2-normalised: words are told apart by a hash of their letters. */
async function embedWords(texts: readonly string[]): Promise<Float32Array[]> {
  return texts.map((text) => {
    const bag = new Float32Array(WORD_BINS);
    for (const word of text.split(' ')) {
      const hash = [...word].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) % 9973, 7);
      bag[hash % WORD_BINS] = (bag[hash % WORD_BINS] as number) + 1;
    }
    const norm = Math.hypot(...bag);
    return bag.map((count) => count / norm);
  });
}

/** Runs the engine's loop to the end. Returns the last update's log Z, undefined for objectives that learn none. */
async function learn(
  world: EnumerableWorld,
  policy: PolicySession,
  training: EnumerableTraining,
): Promise<number | undefined> {
  const { updates, responses, mix } = training;
  let logZ: number | undefined;
  const reward = responses === undefined ? world.reward : world.sampledReward(responses);
  const parts = {
    attacker: world.attacker,
    policy,
    reference: world.reference,
    buffer: createReplayBuffer({ capacity: BUFFER_CAPACITY, nearEditRatio: null }),
    asked: new AskedBatches<AlarmCount>(),
    openReward: () => ({ reward, settle: () => undefined }),
    reward,
    ...(mix === undefined ? {} : { clusters: new WordingClusters(CLUSTER_COSINE), embed: embedWords }),
  };
  const control = {
    checkpoints: { folder: world.folder, stage: 'gflownet' },
    checkpointEveryUpdates: updates,
    progress: silentProgress,
  };
  await trainGflownet(parts, gflownetOptions(world, training), {
    control,
    from: 0,
    optimizer: createAdamWState(policy.parameters.data.length),
    onUpdate: async (record) => {
      logZ = record.metrics.logZ;
      return false;
    },
  });
  return logZ;
}

/**
 * Trains an attacker in an enumerable world by the engine's own GFlowNet loop, from the reference on, and returns how far
 * it ends from the exact posterior: its probability of every sequence is computed, nothing is sampled to measure it.
 */
export async function trainInEnumerableWorld(
  world: EnumerableWorld,
  training: EnumerableTraining,
): Promise<SamplerError> {
  const { objective } = training;
  const policy = await world.openPolicy({
    logZ: objective.usesLogZ ? 'through-trunk' : 'none',
    ...slopeClips(objective),
  });
  try {
    const logZ = await learn(world, policy, training);
    const logProbs = await world.logProbsOf(world.attacker.stateOf(policy.parameters));
    return {
      totalVariation: totalVariation(logProbs.map(Math.exp), world.posterior),
      logZError: logZ === undefined ? undefined : logZ - world.logZ,
    };
  } finally {
    await policy.close();
  }
}
