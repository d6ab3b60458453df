import { NEW_REINFORCE_STATE, type ReinforceState, trainReinforce } from '../learning/loops/reinforce.ts';
import type { Campaign } from './campaign/campaign.ts';
import { loadReference } from './campaign/load-reference.ts';
import { reinforceOptions } from './config/policy-gradient-settings.ts';
import { startPolicyGradient } from './policy-gradient-stage.ts';
import { openAttackerPolicy } from './stage-sft.ts';

const STAGE = 'reinforce';

/** REINFORCE: from the SFT attacker, with the frozen SFT attacker as reference. */
export async function runReinforce(campaign: Campaign): Promise<void> {
  const { config, attacker, store, seeds } = campaign;
  const options = reinforceOptions(config, seeds.attacks.length);
  store.beginStage(STAGE, options.updates);
  const reference = await loadReference(campaign);
  const policy = await openAttackerPolicy(campaign, { logZ: 'none' });
  try {
    policy.parameters.data.set(reference.data);
    const { run, reward, extra } = await startPolicyGradient(campaign, STAGE, policy.parameters);
    const state = (extra as { reinforce: ReinforceState } | undefined)?.reinforce ?? { ...NEW_REINFORCE_STATE };
    await trainReinforce({ attacker, policy, reference: attacker.stateOf(reference), reward }, options, run, state);
    store.endStage(STAGE, 'done');
  } finally {
    await policy.close();
  }
}
