import path from 'node:path';
import type { EnumerableWorld } from '../../../lab/enumerable/enumerable-world.ts';
import { silentProgress } from '../../../src/base/progress.ts';
import { createAdamWState } from '../../../src/engine/optimizer/adamw.ts';
import { initialiseParameters, type ParameterVector } from '../../../src/engine/optimizer/flat-parameters.ts';
import { loadLatestCheckpoint } from '../../../src/learning/checkpoints/checkpoint-folder.ts';
import type { PolicyGradientOptions, PolicyGradientUpdate } from '../../../src/learning/loops/policy-gradient.ts';
import {
  newPpoState,
  type PpoOptions,
  type PpoParts,
  type PpoState,
  trainPpo,
} from '../../../src/learning/loops/ppo.ts';
import {
  NEW_REINFORCE_STATE,
  type ReinforceOptions,
  type ReinforceState,
  trainReinforce,
} from '../../../src/learning/loops/reinforce.ts';
import type { RewardFunction } from '../../../src/learning/reward/reward.ts';
import { openActorCriticSession } from '../../../src/models/decoder/actor-critic-session.ts';

/** A world's training beside its options. */
export interface WorldTraining {
  readonly reward: RewardFunction<unknown>;
  readonly stage: string;
  readonly valueGradient?: 'through-trunk' | 'head-only';
  /** Where its checkpoints lie, inside the world's own folder. */
  readonly folder?: string;
  /** Ends the stage after so many updates, as a kill after a checkpoint would. */
  readonly stopAfter?: number;
  readonly novelty?: (saved: unknown, texts: readonly string[]) => NonNullable<PpoParts<unknown>['novelty']>;
  /** Every text of the stage so far, as a database would keep them. */
  readonly written?: string[];
}

export interface TrainedInWorld {
  /** The trained model, without heads. */
  readonly logProbs: Float64Array;
  readonly parameters: Float32Array;
  readonly records: PolicyGradientUpdate<unknown>[];
}

function rate(peak: number, updates: number): PolicyGradientOptions['learningRate'] {
  return { peak, warmupUpdates: 5, decay: 'linear', decayFrom: 0.4, totalUpdates: updates };
}

export function reinforceOptions(
  updates: number,
  learningRate: number,
  overrides: Partial<ReinforceOptions> = {},
): ReinforceOptions {
  return {
    updates,
    batchSize: 64,
    microBatchSize: 64,
    learningRate: rate(learningRate, updates),
    gradientClip: 1,
    weightDecay: 0,
    score: { kind: 'mean-unsafe' },
    fluency: { form: { kind: 'sum' }, minTokens: 0, shortPenalty: 0 },
    truncationPenalty: false,
    seed: 1,
    baseline: { kind: 'leave-one-out' },
    normaliseAdvantages: false,
    kl: 0.001,
    entropy: 0,
    ...overrides,
  };
}

export function ppoOptions(updates: number, learningRate: number, overrides: Partial<PpoOptions> = {}): PpoOptions {
  return {
    ...reinforceOptions(updates, learningRate),
    epochs: 4,
    minibatchSize: 32,
    clipRange: 0.2,
    valueClipRange: 0.2,
    valueWeight: 1,
    valueLearningRate: rate(learningRate, updates),
    discount: 1,
    lambda: 0.95,
    whitenAdvantages: true,
    kl: 0.001,
    entropy: 0,
    novelty: { selfBleu: 0, cosine: 0, gibberish: 0, gibberishThreshold: -100 },
    rewardClip: 10,
    ...overrides,
  };
}

/** The loop's control, optimizer and records; resumes from a checkpoint of the stage where there is one. */
async function startRun(world: EnumerableWorld, parameters: ParameterVector, training: WorldTraining) {
  const checkpoints = { folder: path.join(world.folder, training.folder ?? ''), stage: training.stage };
  const found = await loadLatestCheckpoint(checkpoints, parameters);
  const records: PolicyGradientUpdate<unknown>[] = [];
  return {
    extra: found?.state.extra,
    records,
    run: {
      control: {
        checkpoints,
        checkpointEveryUpdates: Number.MAX_SAFE_INTEGER,
        progress: silentProgress,
      },
      from: found?.state.update ?? 0,
      optimizer: found?.state.optimizer ?? createAdamWState(parameters.data.length),
      onUpdate: async (record: PolicyGradientUpdate<unknown>) => {
        records.push(record);
        training.written?.push(...record.rows.map(({ text }) => text));
        return record.update + 1 === training.stopAfter;
      },
    },
  };
}

/** A copy of the policy's model, as a state that samples and scores. */
async function logProbsOf(world: EnumerableWorld, parameters: ParameterVector): Promise<Float64Array> {
  return world.logProbsOf(world.attacker.stateOf(parameters));
}

export async function reinforceIn(
  world: EnumerableWorld,
  options: ReinforceOptions,
  training: WorldTraining,
): Promise<TrainedInWorld> {
  const policy = await world.openPolicy({ logZ: 'none' });
  try {
    const { run, records, extra } = await startRun(world, policy.parameters, training);
    const state =
      (extra as { reinforce: ReinforceState } | undefined)?.reinforce ?? ({ ...NEW_REINFORCE_STATE } as ReinforceState);
    const { attacker, reference } = world;
    await trainReinforce({ attacker, reference, policy, state, reward: training.reward }, options, run);
    return { logProbs: await logProbsOf(world, policy.parameters), parameters: policy.parameters.data, records };
  } finally {
    await policy.close();
  }
}

export async function ppoIn(
  world: EnumerableWorld,
  options: PpoOptions,
  training: WorldTraining,
): Promise<TrainedInWorld> {
  const { attacker, reference } = world;
  const { config, weights, trainable, contextTokens } = attacker.spec;
  const policy = await openActorCriticSession(
    {
      config,
      weights,
      trainable,
      contextTokens,
      bans: attacker.bans,
      valueGradient: training.valueGradient ?? 'through-trunk',
      clipRange: options.clipRange,
      ...(options.valueClipRange === undefined ? {} : { valueClipRange: options.valueClipRange }),
    },
    world.options.compute,
  );
  try {
    initialiseParameters(policy.parameters, options.seed);
    policy.parameters.data.set(world.referenceParameters.data); // the value head lies behind
    const { run, records, extra } = await startRun(world, policy.parameters, training);
    const saved = extra as { ppo: PpoState; novelty: unknown } | undefined;
    const novelty = training.novelty?.(saved?.novelty, training.written ?? []);
    const parts = {
      attacker,
      reference,
      policy,
      state: saved?.ppo ?? newPpoState(options),
      reward: training.reward,
      ...(novelty === undefined ? {} : { novelty }),
    };
    await trainPpo(parts, options, run);
    return { logProbs: await logProbsOf(world, policy.parameters), parameters: policy.parameters.data, records };
  } finally {
    await policy.close();
  }
}

/** The exact expectation of a value under a policy: a sum over every sequence. */
export function expectation(logProbs: ArrayLike<number>, values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp(logProbs[i] as number) * (values[i] as number);
  return sum;
}
