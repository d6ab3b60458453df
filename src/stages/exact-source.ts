import { type AttackSource, FREE_DRAW } from './attack-source.ts';
import type { Campaign } from './campaign/campaign.ts';
import { requireWorld } from './campaign/run-world.ts';
import { loadExactSample } from './world-posterior.ts';

/** Draws from the reward's distribution itself, as the run's world knows it: what a perfect attacker would write. */
export async function openExactSource(campaign: Campaign): Promise<AttackSource> {
  const world = requireWorld(campaign.world, 'attackers: exact');
  const sample = await loadExactSample(campaign, world, campaign.config.evaluation.attacks);
  return {
    draw: async (first, count) => {
      const attacks = sample.slice(first, first + count).map((attack) => ({ ...attack, logPi: null }));
      return {
        attacks,
        ids: attacks.map((attack) => campaign.attacker.rowOf(attack)),
        cost: { ...FREE_DRAW, tokens: 0 },
      };
    },
    close: async () => undefined,
  };
}
