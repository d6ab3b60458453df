import { requireKnownWorld } from '../worlds/world-registry.ts';
import { drawCost } from './policy-draw.ts';
import { type AttackDraw, type Campaign, problemAt, type Stage } from './stage.ts';
import { loadExactSample } from './world-posterior.ts';

async function open(campaign: Campaign): Promise<AttackDraw> {
  const world = requireKnownWorld(campaign.world, 'attackers: exact');
  const sample = await loadExactSample(campaign, world, campaign.config.evaluation.attacks);
  return {
    draw: async (first, count) => {
      const attacks = sample.slice(first, first + count).map((attack) => ({ ...attack, source: 'fresh' as const }));
      return { attacks, cost: drawCost(0) };
    },
    close: async () => undefined,
  };
}

/** Draws from the reward's distribution itself, as the run's world knows it: a perfect attacker. */
export const exact: Stage = {
  name: 'exact',
  needs: ['sft'],
  sections: [],
  words: {
    label: 'Exact',
    explain: 'Drawn from the known true distribution: the best that any attacker could do.',
  },
  knowsTarget: 'given',
  hasDensity: false,
  dependence: 'its attacks are drawn again and again from one weighted pool',
  check: ({ world }, isWanted) =>
    isWanted && world === undefined
      ? [problemAt('attackers', 'got exact, which exists in a synthetic world only (world: {})')]
      : [],
  open,
};
