import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { runVitest } from '../child-process.ts';
import { type Experiment, examples } from '../experiment.ts';
import { reportScaling, type ScalingOptions } from './scaling.ts';

interface FaultOptions {
  readonly count: number;
  readonly seed: number;
}

/** `npm run lab -- queue`. */
export const queue: Experiment = {
  name: 'queue',
  description: 'workers behind Redis: faults over a run, and how close they come to the ideal rate (docs/scale.md)',
  define: (command, context) => {
    command
      .command('faults')
      .description('kills, cuts and restarts over one run, whose rows stay those of an undisturbed one')
      .option('--count <count>', 'faults', parsePositiveCount, 200)
      .option('--seed <seed>', 'seed of the faults', parseCount, 1)
      .addHelpText('after', examples('queue faults', 'queue faults --count 20 --seed 2'))
      .action(({ count, seed }: FaultOptions) => {
        const env = { QUEUE_FAULTS: String(count), QUEUE_SEED: String(seed) };
        return runVitest({ name: 'queue', filters: [], env }, context);
      });
    command
      .command('scaling')
      .description('worker processes before a slow server on this machine: rate, messages, bytes, processor time')
      .option('--workers <count>', 'worker processes', parsePositiveCount, 8)
      .option('--concurrency <count>', 'calls at once of each worker', parsePositiveCount, 8)
      .option('--latency <ms>', "the server's, ms", parsePositiveCount, 200)
      .option('--calls <count>', 'calls', parsePositiveCount, 4000)
      .addHelpText('after', examples('queue scaling', 'queue scaling --workers 2 --calls 500'))
      .action((options: ScalingOptions) => reportScaling(options, context));
    return command.addHelpText('after', examples('queue faults --count 20', 'queue scaling'));
  },
};
