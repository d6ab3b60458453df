import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { runVitest } from '../child-process.ts';
import { type Experiment, examples } from '../experiment.ts';

interface CalibrationOptions {
  readonly worlds: number;
  readonly seed: number;
}

/** `npm run lab -- calibration`. */
export const calibration: Experiment = {
  name: 'calibration',
  description: 'coverage of the intervals of docs/unseen.md, in worlds where the truth is known',
  define: (command, context) =>
    command
      .option('--worlds <count>', 'worlds of each kind', parsePositiveCount, 100)
      .option('--seed <seed>', 'seed of the first world', parseCount, 1000)
      .addHelpText('after', examples('calibration', 'calibration --worlds 10 --seed 1'))
      .action(({ worlds, seed }: CalibrationOptions) => {
        const env = { CALIBRATION_WORLDS: String(worlds), CALIBRATION_SEED: String(seed) };
        return runVitest({ name: 'calibration', filters: [], env }, context);
      }),
};
