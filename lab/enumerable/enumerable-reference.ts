import { silentProgress } from '../../src/base/progress.ts';
import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { createAdamWState } from '../../src/engine/optimizer/adamw.ts';
import type { ParameterVector } from '../../src/engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import type { Attacker } from '../../src/learning/attacker.ts';
import { loadParameters } from '../../src/learning/checkpoints/trainer-state.ts';
import { trainLikelihood } from '../../src/learning/loops/likelihood.ts';
import { openPolicySession } from '../../src/models/decoder/policy-session.ts';

const SEEDS = 1500;
const BATCH_SIZE = 64;
const LEARNING_RATE = 2e-3;

/** Index r drawn with probability proportional to 1 / (r + 2): Zipf's law, flattened at its head. */
function zipfIndex(count: number, stream: RandomStream): number {
  const weights = Array.from({ length: count }, (_, rank) => 1 / (rank + 2));
  let left = stream.nextFloat() * weights.reduce((sum, weight) => sum + weight, 0);
  const found = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return found === -1 ? count - 1 : found;
}

/** Seed attacks from a random Markov chain: each word, and the start, has its own order of likely successors. */
function seedRows(attacker: Attacker, wordIds: readonly number[], seed: number): number[][] {
  const { minTokens, maxTokens } = attacker.spec;
  const order = randomStream(seed, 'enumerable grammar');
  const successors = new Map([-1, ...wordIds].map((word) => [word, order.shuffle(wordIds)]));
  return Array.from({ length: SEEDS }, (_, row) => {
    const stream = randomStream(seed, 'enumerable seed', row);
    const length = minTokens + stream.nextInt(maxTokens - minTokens + 1);
    const tokens: number[] = [];
    while (tokens.length < length) {
      const likely = successors.get(tokens.at(-1) ?? -1) as readonly number[];
      tokens.push(likely[zipfIndex(likely.length, stream)] as number);
    }
    return attacker.rowOf({ tokens, terminated: length < maxTokens });
  });
}

/**
 * The reference of an enumerable world: its random weights after `updates` updates of SFT on attacks of a random Markov
 * chain, so that p_ref is far from uniform. Checkpoints go to `folder`.
 */
export async function trainEnumerableReference(
  attacker: Attacker,
  wordIds: readonly number[],
  options: {
    readonly updates: number;
    readonly seed: number;
    readonly folder: string;
    readonly compute: ComputeOptions;
  },
): Promise<ParameterVector> {
  const { config, weights, trainable, contextTokens, minTokens } = attacker.spec;
  const { updates, seed, folder, compute } = options;
  const reference = attacker.createParameters();
  await loadParameters(weights.path, reference);
  if (updates === 0) return reference;
  const session = await openPolicySession(
    { config, weights, trainable, contextTokens, bans: attacker.bans, logZ: 'none' },
    compute,
  );
  try {
    session.parameters.data.set(reference.data);
    await trainLikelihood(
      {
        policy: session,
        examples: seedRows(attacker, wordIds, seed).map((row) => ({ row, weight: 1 })),
        validation: [],
      },
      {
        promptOf: (cell) => attacker.promptOf(cell),
        minTokens,
        batchSize: BATCH_SIZE,
        learningRate: { peak: LEARNING_RATE, warmupUpdates: 10, decay: 'linear', totalUpdates: updates },
        gradientClip: 1,
        weightDecay: 0,
        seed,
        validateEveryUpdates: updates,
      },
      {
        control: {
          checkpoints: { folder, stage: 'sft' },
          checkpointEveryUpdates: updates,
          progress: silentProgress,
        },
        from: 0,
        optimizer: createAdamWState(session.parameters.data.length),
        onUpdate: async () => false,
      },
    );
    reference.data.set(session.parameters.data);
    return reference;
  } finally {
    await session.close();
  }
}
