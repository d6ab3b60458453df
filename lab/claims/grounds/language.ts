import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { CHOSEN } from '../../few-calls/settings.ts';
import { BASELINE_ARM, DRAWS_ARM, type Ground, OURS_ARM } from './ground.ts';
import { realModelOverrides } from './real-models.ts';

/** A language model attacks a rule over planted regions of meaning. */
export const language: Ground = {
  name: 'language',
  describe: 'a language model against a rule over planted regions of meaning',
  kind: 'world',
  budgets: [500, 2_000],
  seeds: 5,
  firstWorldSeed: () => 8000,
  arms: { ours: OURS_ARM, baselines: BASELINE_ARM, draws: DRAWS_ARM, reference: OURS_ARM, today: OURS_ARM },
  ownWeights: 'smoothing-uniform',
  config: async (run) => {
    const attackers = run.attackers ?? language.arms[run.arm] ?? [];
    // With the world's own seed a run learns the world's own reference, and takes its draws.
    const { worldSeed = 0 } = run;
    return parseConfig('world: {kind: language}\n', {
      fileName: 'of the claims',
      folder: process.cwd(),
      overrides: [
        `world.seed=${worldSeed}`,
        ...realModelOverrides({ ...run, seed: worldSeed, attackers }, CHOSEN.language),
      ],
    });
  },
  // A rule cannot be tuned, and no other rule shares a part of its regions: C3 to C6 are undecided here.
  targets: { further: [], asked: {}, tuning: [] },
};
