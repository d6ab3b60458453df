import { z } from 'zod';
import { nonNegative, share } from '../base/config-fields.ts';
import {
  NEW_REINFORCE_STATE,
  type ReinforceOptions,
  type ReinforceState,
  trainReinforce,
} from '../learning/loops/reinforce.ts';
import { loadReference } from './checkpoints.ts';
import { type Config, createSection } from './config/config.ts';
import { commonOptions, FOR_SUCCESS, policyGradientShape, policyGradientWork, updatesOf } from './policy-gradient.ts';
import { openAttackerPolicy, startRewarded, withMeasuredCap } from './rewarded-training.ts';
import { type Campaign, checkWarmup, planContextOf, problemAt, type Stage } from './stage.ts';

const NAME = 'reinforce';

/** REINFORCE with a baseline and a KL penalty. */
export const reinforceSection = createSection(
  NAME,
  z
    .strictObject({
      ...policyGradientShape({ batchSize: 64, learningRate: 1e-4 }),
      baseline: z
        .enum(['leave-one-out', 'running-mean'])
        .default('leave-one-out')
        .describe("baseline, subtracted from the reward: mean of the update's other attacks, or of earlier updates"),
      baselineDecay: share.lt(1).default(0.9).describe('running-mean: weight of the earlier updates'),
      normaliseAdvantages: z
        .boolean()
        .default(true)
        .describe("divides advantages by the standard deviation of the update's rewards"),
      entropy: nonNegative.default(0).describe('weight of the bonus -log pi'),
    })
    .prefault({})
    .describe('attacker reinforce: policy gradient on the reward'),
);

/** The loop's options as the config has them. */
export function reinforceOptions(config: Config, updates: number): ReinforceOptions {
  const section = reinforceSection.of(config);
  const { rate, shared } = commonOptions(config, section, updates);
  const { baseline, baselineDecay, normaliseAdvantages, entropy, learningRate } = section;
  return {
    ...shared,
    learningRate: rate(learningRate),
    baseline: baseline === 'running-mean' ? { kind: baseline, decay: baselineDecay } : { kind: baseline },
    normaliseAdvantages,
    entropy,
  };
}

async function run(campaign: Campaign): Promise<void> {
  const { config, attacker, store } = campaign;
  const section = reinforceSection.of(config);
  const updates = updatesOf(config, section, planContextOf(campaign));
  store.beginStage(NAME, updates);
  const reference = await loadReference(campaign);
  const options = reinforceOptions(await withMeasuredCap(campaign, reference), updates);
  const policy = await openAttackerPolicy(campaign, { logZ: 'none' });
  try {
    policy.parameters.data.set(reference.data);
    const start = await startRewarded(campaign, NAME, policy.parameters, section.checkpointEveryUpdates);
    const saved = start.extra as { readonly reinforce: ReinforceState } | undefined;
    const state = saved?.reinforce ?? { ...NEW_REINFORCE_STATE };
    const parts = { attacker, policy, state, reference: attacker.stateOf(reference), reward: start.reward };
    await trainReinforce(parts, options, start.run);
    store.endStage(NAME, 'done');
  } finally {
    await policy.close();
  }
}

/** REINFORCE: from the SFT attacker, with the frozen SFT attacker as reference. */
export const reinforce: Stage = {
  name: NAME,
  needs: ['sft'],
  sections: [reinforceSection],
  words: {
    label: 'REINFORCE',
    explain: 'Trained by trial and error for success alone.',
    learning: FOR_SUCCESS,
  },
  knowsTarget: 'learns',
  hasDensity: true,
  check: (config) => {
    const section = reinforceSection.of(config);
    const isAlone = section.baseline === 'leave-one-out' && section.batchSize < 2;
    const what = 'got a single attack an update, baseline leave-one-out compares at least 2';
    return [...checkWarmup(NAME, section), ...(isAlone ? [problemAt('reinforce.batchSize', what)] : [])];
  },
  plan: (config, context) => policyGradientWork(config, reinforceSection.of(config), context, 1),
  run,
};
