import { z } from 'zod';
import { monotonicMs } from '../base/clock.ts';
import { count, nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import { type CollectedAttack, collectionWeights } from '../learning/loops/collection-weights.ts';
import { type LikelihoodExample, trainLikelihood } from '../learning/loops/likelihood.ts';
import { logRewardAt } from '../learning/reward/reward.ts';
import { rewardRule } from '../learning/reward/reward-section.ts';
import type { PolicySession } from '../models/decoder/policy-session.ts';
import type { EventRecord } from '../runs/store/records.ts';
import { loadReference, loopControl, resumeStage, type StageStart } from './checkpoints.ts';
import { clusterSizes, collectAttacks, loadCollection } from './collection.ts';
import { type Config, createSection } from './config/config.ts';
import { MANY_KINDS } from './gflownet.ts';
import { FOR_SUCCESS } from './policy-gradient.ts';
import { openAttackerPolicy } from './rewarded-training.ts';
import { CHECKPOINT_EVERY, recordLikelihood } from './sft.ts';
import { type Campaign, checkWarmup, type Stage, type StageWords } from './stage.ts';

type Weights = 'uniform' | 'balanced' | 'reward';

/** Which attacks smoothing learns from. */
export const collectSection = createSection(
  'collect',
  z
    .strictObject({
      minUnsafe: share.default(0.7).describe('arithmetic mean of P(unsafe) over the responses'),
      minLogPRef: z.number().default(-100).describe('nats of the whole attack under the reference'),
    })
    .prefault({})
    .describe('which attacks of the GFlowNet stage smoothing learns from'),
);

const section = createSection(
  'smoothing',
  z
    .strictObject({
      method: z
        .enum(['as-attacker', 'full'])
        .default('as-attacker')
        .describe('full: every weight, from the SFT attacker with its adapter merged in; for small models'),
      updates: positiveCount.max(10_000_000).default(1000).describe('optimizer updates'),
      batchSize: positiveCount.max(65_536).default(16).describe('attacks of one update'),
      learningRate: positive.default(1e-4).describe('after the warm-up'),
      warmupUpdates: count.default(0).describe('updates of linear learning-rate warm-up'),
      decay: z.enum(['constant', 'linear']).default('constant').describe('learning rate after the warm-up'),
      weightDecay: nonNegative.default(0).describe('decoupled decay of AdamW'),
      gradientClip: positive.default(1).describe('largest global norm of the gradient'),
      weights: z
        .enum(['uniform', 'balanced', 'reward'])
        .default('uniform')
        .describe('uniform: the paper; balanced: 1 / cluster size^balance; reward: proportional to the reward'),
      balance: share
        .default(1)
        .describe('balanced: 1 gives every cluster the same share, 0 every attack; lower succeeds oftener'),
      clusters: z
        .enum(['embedding', 'ngram'])
        .default('embedding')
        .describe(
          'balanced: how attacks are clustered; ngram: by the 1-3 words that an attack has oftener than the reference',
        ),
      rescore: z.boolean().default(false).describe('judge the collected attacks again on new responses first'),
    })
    .prefault({})
    .describe('second phase: the SFT attacker learns the collected attacks by maximum likelihood'),
);

function trainsEveryWeight(config: Config): boolean {
  return section.of(config).method === 'full' && config.attacker.method === 'lora';
}

async function examplesOf(
  campaign: Campaign,
  attacks: readonly CollectedAttack[],
  { kind, source }: { readonly kind: Weights; readonly source: string },
): Promise<LikelihoodExample[]> {
  const { config, store } = campaign;
  // The reward under the schedules' values at the end of the stage that found the attacks.
  const updates = store.stages().find(({ name }) => name === source)?.updatesPlanned ?? 0;
  const logReward = logRewardAt(rewardRule(config.reward), updates);
  const { clusters, balance } = section.of(config);
  const values = collectionWeights(attacks, {
    kind,
    clusterSizes: kind === 'balanced' ? await clusterSizes(campaign, attacks, clusters) : [],
    balance,
    logReward: ({ fluency, score }) => logReward(fluency, score.logS),
  });
  return attacks.map(({ ids, cell }, i) => {
    return { row: ids, weight: values[i] as number, ...(cell === undefined ? {} : { cell }) };
  });
}

/**
 * Update number of the collection's record. The collection is made before the first update and kept in a file. No
 * resume makes its calls again, and no truncation of updates may count them as repeated.
 */
const BEFORE_UPDATES = -1;

/** Recorded in one transaction with the cost; a kill in between leaves neither. */
const COLLECTION_EVENTS: readonly string[] = ['collected', 'nothing-collected'];

function isCollectionRecorded({ store }: Campaign, name: string): boolean {
  return store.events().some(({ stage, code }) => stage === name && COLLECTION_EVENTS.includes(code));
}

function collectionEvent(kept: number, found: number): EventRecord {
  const message = `${kept} distinct attacks to learn from, of ${found} collected`;
  if (kept > 0) return { level: 'info', code: 'collected', message };
  const hint =
    'no attack passed collect.minUnsafe and collect.minLogPRef: nothing was trained; lower them, or train longer';
  return { level: 'warning', code: 'nothing-collected', message: `${message}; ${hint}` };
}

/** The examples of a stage, with the collection recorded once; none when nothing was collected. */
async function collectExamples(campaign: Campaign, stage: string, source: string, weights: Weights | undefined) {
  const { config, store } = campaign;
  const { rescore, weights: configured } = section.of(config);
  const bounds = collectSection.of(config);
  const found = collectAttacks(campaign, source, bounds);
  const began = monotonicMs();
  const { attacks, calls } = await loadCollection(campaign, { source, found, bounds, rescore });
  const seconds = (monotonicMs() - began) / 1000;
  const examples =
    attacks.length === 0 ? [] : await examplesOf(campaign, attacks, { kind: weights ?? configured, source });
  if (!isCollectionRecorded(campaign, stage)) {
    const event = collectionEvent(examples.length, found.length);
    store.recordUpdate({ stage, update: BEFORE_UPDATES, cost: { ...calls, seconds }, events: [event] });
  }
  return examples;
}

async function trainOn(
  campaign: Campaign,
  stage: string,
  { policy, examples }: { readonly policy: PolicySession; readonly examples: readonly LikelihoodExample[] },
  start: StageStart,
): Promise<void> {
  const { attacker, config } = campaign;
  const { updates, batchSize, learningRate, warmupUpdates, decay, gradientClip, weightDecay } = section.of(config);
  await trainLikelihood(
    { policy, examples, validation: [] },
    {
      promptOf: (cell) => attacker.promptOf(cell),
      minTokens: attacker.spec.minTokens,
      batchSize,
      learningRate: { peak: learningRate, warmupUpdates, decay, totalUpdates: updates },
      gradientClip,
      weightDecay,
      seed: config.seed,
      validateEveryUpdates: updates,
    },
    {
      control: loopControl(campaign, stage, CHECKPOINT_EVERY),
      from: start.update,
      optimizer: start.optimizer,
      onUpdate: async (record) => {
        recordLikelihood(campaign, stage, record);
        return false;
      },
    },
  );
}

/**
 * Smoothing: the SFT attacker learns the collected attacks by maximum likelihood, not the policy that found them. When
 * nothing was collected, it records that and trains nothing.
 */
async function run(campaign: Campaign, stage: string, source: string, weights: Weights | undefined): Promise<void> {
  const { config, store, compute } = campaign;
  store.beginStage(stage, section.of(config).updates);
  const attacker = await campaign.attackerOf(stage);
  const policy = await openAttackerPolicy({ attacker, compute }, { logZ: 'none' });
  try {
    if (trainsEveryWeight(config)) await attacker.initialise(policy.parameters, config.seed);
    else policy.parameters.data.set((await loadReference(campaign)).data);
    const start = await resumeStage(campaign, stage, policy.parameters);
    const examples = await collectExamples(campaign, stage, source, weights);
    if (examples.length > 0) await trainOn({ ...campaign, attacker }, stage, { policy, examples }, start);
    store.endStage(stage, 'done');
  } finally {
    await policy.close();
  }
}

interface SmoothingVariant {
  readonly name: string;
  readonly source: string;
  /** In place of `smoothing.weights`. */
  readonly weights?: Weights;
  readonly words: StageWords;
}

/** A stage that smooths over the attacks that another stage found. */
function smoothingStage({ name, source, weights, words }: SmoothingVariant): Stage {
  return {
    name,
    needs: ['sft', source],
    sections: [collectSection, section],
    words,
    knowsTarget: 'learns',
    hasDensity: true,
    smooths: source,
    trainsEveryWeight,
    check: (config) => checkWarmup('smoothing', section.of(config)),
    plan: (config, { workOf }) => {
      const { updates, batchSize, rescore } = section.of(config);
      // Every attack that training tried may pass into the collection, and is then scored again.
      const tried = rescore ? (workOf(source)?.tried ?? 0) : 0;
      return { attacks: 0, tried, trainedRows: updates * batchSize, passRows: batchSize };
    },
    run: (campaign) => run(campaign, name, source, weights),
  };
}

const OF_GFLOWNET: StageWords = {
  label: 'GFlowNet + smoothing',
  lead: 1,
  explain: 'The imitation attacker, retrained on the successes that GFlowNet training collected.',
  learning: MANY_KINDS,
};

const after = (label: string, learning = FOR_SUCCESS): StageWords => ({
  label: `${label} + smoothing`,
  explain: 'The imitation attacker, retrained on the successes collected before.',
  learning,
});

/** The GFlowNet's smoothing, and the same with each weighting. */
export const smoothing = smoothingStage({ name: 'smoothing', source: 'gflownet', words: OF_GFLOWNET });

const WEIGHTED: Readonly<Record<Weights, string>> = {
  uniform: 'every collected attack weighs the same',
  balanced: 'every kind of collected attack weighs the same',
  reward: 'every collected attack weighs by its reward',
};

export const weightedSmoothings: readonly Stage[] = (['uniform', 'balanced', 'reward'] as const).map((weights) =>
  smoothingStage({
    name: `smoothing-${weights}`,
    source: 'gflownet',
    weights,
    words: {
      label: `${OF_GFLOWNET.label}, ${weights}`,
      explain: `The same as ${OF_GFLOWNET.label}, but ${WEIGHTED[weights]}.`,
      learning: MANY_KINDS,
    },
  }),
);

export const reinforceSmoothing = smoothingStage({
  name: 'reinforce-smoothing',
  source: 'reinforce',
  words: after('REINFORCE'),
});

export const ppoSmoothing = smoothingStage({ name: 'ppo-smoothing', source: 'ppo', words: after('PPO') });

const OF_ITS_OWN = 'first by imitating examples, then by imitating those of its own messages that succeeded';

export const drawsSmoothing = smoothingStage({
  name: 'draws-smoothing',
  source: 'draws',
  words: after('Plain draws', OF_ITS_OWN),
});

export const coveringSmoothing = smoothingStage({
  name: 'covering-smoothing',
  source: 'covering',
  words: after('Covering draws', OF_ITS_OWN),
});
