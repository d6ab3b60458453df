import { Argument } from 'commander';
import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { runVitest } from '../child-process.ts';
import { type Experiment, examples } from '../experiment.ts';

interface DurabilityOptions {
  readonly kills?: number;
  readonly seed: number;
}

/** `npm run lab -- durability`. */
export const durability: Experiment = {
  name: 'durability',
  description: 'kills and full disks: a resumed run ends with the same bytes (docs/durability.md)',
  define: (command, context) =>
    command
      .addArgument(new Argument('[parts...]', 'only these').choices(['kills', 'smollm2', 'full-disk', 'containers']))
      .option(
        '--kills <count>',
        'kills of each part (default: 100 of tiny runs and studies, 8 of SmolLM2)',
        parsePositiveCount,
      )
      .option('--seed <seed>', 'seed of the moments at which the tiny runs are killed', parseCount, 1)
      .addHelpText('after', examples('durability', 'durability kills --kills 20 --seed 2', 'durability full-disk'))
      .action((parts: readonly string[], { kills, seed }: DurabilityOptions) => {
        const count = kills === undefined ? {} : { DURABILITY_KILLS: `${kills}`, DURABILITY_SMOLLM2_KILLS: `${kills}` };
        const env = { DURABILITY_SEED: String(seed), ...count };
        return runVitest({ name: 'durability', filters: parts, env }, context);
      }),
};
