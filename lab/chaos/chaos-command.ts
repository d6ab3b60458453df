import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { runVitest } from '../child-process.ts';
import { type Experiment, examples } from '../experiment.ts';

interface ChaosOptions {
  readonly attacks: number;
  readonly kills: number;
  readonly seed: number;
}

/** `npm run lab -- chaos`. */
export const chaos: Experiment = {
  name: 'chaos',
  description: 'a server with every fault: no answer is lost or counted twice (docs/durability.md)',
  define: (command, context) =>
    command
      .option('--attacks <count>', 'attacks, each asked for two responses', parsePositiveCount, 2000)
      .option('--kills <count>', 'kills of the run that is killed', parsePositiveCount, 20)
      .option('--seed <seed>', 'seed of the faults and of the moments of the kills', parseCount, 1)
      .addHelpText('after', examples('chaos', 'chaos --attacks 200 --kills 3 --seed 2'))
      .action(({ attacks, kills, seed }: ChaosOptions) => {
        const env = { CHAOS_ATTACKS: String(attacks), CHAOS_KILLS: String(kills), CHAOS_SEED: String(seed) };
        return runVitest({ name: 'chaos', filters: [], env }, context);
      }),
};
