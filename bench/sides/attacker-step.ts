import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { type AdamWState, createAdamWState } from '../../src/engine/optimizer/adamw.ts';
import { optimizerStep } from '../../src/engine/optimizer/optimizer-step.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import { trajectoryBalance } from '../../src/learning/objectives/trajectory-balance.ts';
import { expectedDecoderTensors } from '../../src/models/checkpoint/expected-tensors.ts';
import type { Trainable } from '../../src/models/decoder/declare-model.ts';
import { openPolicySession, type PolicySession } from '../../src/models/decoder/policy-session.ts';
import type { TokenRow } from '../../src/models/decoder/row-batch.ts';
import type { WeightStore } from '../../src/models/formats/weight-store.ts';
import { randomWeights } from './random-weights.ts';
import { ALPHA, RANK, type StepShape } from './shapes.ts';

const OBJECTIVE = trajectoryBalance();
const LEARNING_RATE = 1e-4;
const WEIGHT_DECAY = 0.01;

export const TRAINABLE = { kind: 'lora', spec: { rank: RANK, alpha: ALPHA, targets: ['c_attn'] } } satisfies Trainable;

/** The GPT-2-shaped weights of this bench. */
export function stepWeights(cacheDir: string, { config }: StepShape): Promise<WeightStore> {
  const name = `gpt2-${config.layers}x${config.width}x${config.vocabSize}`;
  return randomWeights(cacheDir, name, expectedDecoderTensors(config));
}

/** Uniform token ids below the end token. */
export function randomIds(stream: RandomStream, count: number, below: number): number[] {
  return Array.from({ length: count }, () => stream.nextInt(below));
}

/** The trajectory-balance step of `peers/gpt2_step.py`: forward, backward, clipping and the AdamW update. */
export class AttackerStep {
  readonly policy: PolicySession;
  private readonly optimizer: AdamWState;

  constructor(policy: PolicySession) {
    this.policy = policy;
    const { data, specs } = policy.parameters;
    this.optimizer = createAdamWState(data.length);
    const stream = randomStream(0, 'bench', 'adapter');
    for (const { name } of specs.filter((spec) => spec.name.includes('.lora_'))) {
      const view = policy.parameters.tensors[name]?.data as Float32Array;
      for (let i = 0; i < view.length; i++) view[i] = 0.02 * stream.nextNormal();
    }
  }

  /** One update; returns the loss before it. */
  async update(prompt: readonly number[], rows: readonly TokenRow[], logRewards: Float32Array): Promise<number> {
    const { policy, optimizer } = this;
    policy.clearGradient();
    const weights = OBJECTIVE.batchWeights(logRewards);
    const { logProbs, logZ } = await policy.step({ prompt, rows }, { minTokens: 1 }, logRewards, weights);
    optimizerStep(policy, optimizer, { gradientClip: 1, learningRate: LEARNING_RATE, weightDecay: WEIGHT_DECAY });
    return OBJECTIVE.loss(logProbs, logRewards, logZ);
  }
}

export async function openAttackerStep(
  shape: StepShape,
  weights: WeightStore,
  compute: ComputeOptions,
): Promise<AttackerStep> {
  const { config, prompt, tokens } = shape;
  const policy = await openPolicySession(
    {
      config,
      weights,
      trainable: TRAINABLE,
      bans: { always: [], end: [config.vocabSize - 1] },
      contextTokens: prompt + tokens,
      logZ: 'through-trunk',
    },
    compute,
  );
  return new AttackerStep(policy);
}
