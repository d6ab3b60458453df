import { FloodgateError } from '../base/errors.ts';
import type { ProgressSink } from '../base/progress.ts';
import { createAdamWState } from '../engine/optimizer/adamw.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { Attacker } from '../learning/attacker.ts';
import { loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { type LikelihoodExample, trainLikelihood } from '../learning/loops/likelihood.ts';
import { openPolicySession } from '../models/decoder/policy-session.ts';

/** Where a world's own models are trained, and who is told. */
export interface BuildOptions {
  /** Folder of the world: weights, and checkpoints while it is built, from which a stopped build resumes. */
  readonly folder: string;
  readonly compute: ComputeOptions;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal | undefined;
}

/** How one of a world's own models is trained. */
export interface Lesson {
  /** In checkpoints and random streams. */
  readonly stage: string;
  readonly seed: number;
  readonly examples: readonly LikelihoodExample[];
  readonly recipe: {
    readonly updates: number;
    readonly batchSize: number;
    readonly learningRate: number;
    readonly warmupUpdates: number;
  };
  /** Parameters that it starts from; a fresh adapter, or the model's own weights, when absent. */
  readonly from?: ParameterVector;
}

/** Trains an adapter, or every weight, by maximum likelihood; a stopped training resumes. */
export async function trainLesson(attacker: Attacker, lesson: Lesson, options: BuildOptions): Promise<ParameterVector> {
  const { config, weights, trainable, contextTokens } = attacker.spec;
  const base = { config, weights, trainable, contextTokens, bans: attacker.bans, logZ: 'none' } as const;
  const policy = await openPolicySession(base, options.compute);
  const { stage, seed, examples, recipe, from } = lesson;
  const checkpoints = { folder: options.folder, stage };
  try {
    if (from === undefined) await attacker.initialise(policy.parameters, seed);
    else policy.parameters.data.set(from.data);
    const found = await loadLatestCheckpoint(checkpoints, policy.parameters);
    const { updates, batchSize, learningRate, warmupUpdates } = recipe;
    await trainLikelihood(
      { policy, examples, validation: [] },
      {
        promptOf: (cell) => attacker.promptOf(cell),
        minTokens: 0,
        batchSize,
        learningRate: { peak: learningRate, warmupUpdates, decay: 'constant', totalUpdates: updates },
        gradientClip: 1,
        weightDecay: 0,
        seed,
        validateEveryUpdates: updates,
      },
      {
        control: {
          checkpoints,
          checkpointEveryUpdates: updates,
          progress: options.progress,
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        },
        from: found?.state.update ?? 0,
        optimizer: found?.state.optimizer ?? createAdamWState(policy.parameters.data.length),
        onUpdate: async ({ loss }) => {
          if (!Number.isFinite(loss)) throw new FloodgateError('model', `train ${stage}: the loss is ${loss}`);
          return false;
        },
      },
    );
    const trained = attacker.createParameters();
    trained.data.set(policy.parameters.data);
    return trained;
  } finally {
    await policy.close();
  }
}
