import type { AttackSource } from './attack-source.ts';
import { openBestOfNSource } from './best-of-n-source.ts';
import type { Campaign } from './campaign/campaign.ts';
import type { AttackerName } from './config/attacker-names.ts';
import { openExactSource } from './exact-source.ts';
import { openIclSource } from './icl-source.ts';
import { openStageAttacker } from './load-attacker.ts';
import { createPolicySource } from './policy-source.ts';

/**
 * What an attacker of a run writes; close it when done.
 *
 * @throws FloodgateError `run` when its stage has left nothing; `config` for `exact` outside a world.
 */
export async function openAttackSource(campaign: Campaign, name: AttackerName): Promise<AttackSource> {
  switch (name) {
    case 'icl':
      return openIclSource(campaign);
    case 'best-of-n':
      return openBestOfNSource(campaign);
    case 'exact':
      return openExactSource(campaign);
    default: {
      const { attacker, state } = await openStageAttacker(campaign, name);
      return createPolicySource(attacker, state);
    }
  }
}
