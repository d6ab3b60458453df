import { FloodgateError } from '../base/errors.ts';
import type { ProgressSink } from '../base/progress.ts';
import { createAdamWState } from '../engine/optimizer/adamw.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import { type Attacker, type AttackerState, openAttacker } from '../learning/attacker.ts';
import { loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { trainLikelihood } from '../learning/loops/likelihood.ts';
import { loadStoredWeights } from '../models/decoder/decoder-weights.ts';
import { openPolicySession } from '../models/decoder/policy-session.ts';
import type { WeightStore } from '../models/formats/weight-store.ts';
import { MAX_REQUEST_TOKENS, MIN_REQUEST_TOKENS, PICO_CONFIG, WORLD_TOKENIZER } from './pico-model.ts';
import { SFT_RECIPE, WORLD_META_PROMPT } from './world-spec.ts';

export interface BuildOptions {
  /** Folder of the world: weights, and checkpoints while it is built. */
  readonly folder: string;
  readonly compute: ComputeOptions;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
}

/** The pico attacker of a world, every weight trained. */
export function openPicoAttacker(weights: WeightStore, compute: ComputeOptions): Promise<Attacker> {
  return openAttacker(
    {
      config: PICO_CONFIG,
      weights,
      tokenizer: WORLD_TOKENIZER,
      trainable: { kind: 'full' },
      metaPrompt: WORLD_META_PROMPT,
      minTokens: MIN_REQUEST_TOKENS,
      maxTokens: MAX_REQUEST_TOKENS,
      contextTokens: PICO_CONFIG.maxPositions,
    },
    compute,
  );
}

/** Trains the world's own reference on its seeds: the distribution by which keys are chosen and the world is admitted. */
export async function trainReference(
  attacker: Attacker,
  seeds: readonly string[],
  options: BuildOptions & { readonly seed: number },
): Promise<AttackerState> {
  const { config, weights, contextTokens } = attacker.spec;
  const policy = await openPolicySession(
    { config, weights, trainable: { kind: 'full' }, contextTokens, bans: attacker.bans, logZ: 'none' },
    options.compute,
  );
  try {
    await loadStoredWeights(weights, policy.parameters);
    const checkpoints = { folder: options.folder, stage: 'reference' };
    const found = await loadLatestCheckpoint(checkpoints, policy.parameters);
    const { updates, batchSize, learningRate, warmupUpdates } = SFT_RECIPE;
    const examples = seeds.map((text) => ({ row: attacker.rowOf(attacker.tokensOf(text)), weight: 1 }));
    await trainLikelihood(
      { policy, examples, validation: [] },
      {
        prompt: attacker.prompt,
        minTokens: 0,
        batchSize,
        learningRate: { peak: learningRate, warmupUpdates, decay: 'constant', totalUpdates: updates },
        gradientClip: 1,
        weightDecay: 0,
        seed: options.seed,
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
          if (!Number.isFinite(loss)) throw new FloodgateError('model', `train reference: the loss is ${loss}`);
          return false;
        },
      },
    );
    const trained = attacker.createParameters();
    trained.data.set(policy.parameters.data);
    return attacker.stateOf(trained);
  } finally {
    await policy.close();
  }
}
