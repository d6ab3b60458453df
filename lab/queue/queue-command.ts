import { parseCount, parsePositive, parsePositiveCount } from '../../src/cli/options.ts';
import { runVitest } from '../child-process.ts';
import { type Experiment, examples } from '../experiment.ts';
import { reportScaling, type ScalingOptions } from './scaling.ts';
import { reportSimulation, type SimulationOptions } from './simulated-scaling.ts';
import { reportSearchSimulation, type SearchSimulationOptions } from './simulated-searches.ts';

interface FaultOptions {
  readonly count: number;
  readonly seed: number;
  readonly searches?: true;
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
      .option('--searches', 'workers draw the attacks too')
      .addHelpText('after', examples('queue faults', 'queue faults --count 20 --seed 2 --searches'))
      .action(({ count, seed, searches }: FaultOptions) => {
        const env = { QUEUE_FAULTS: String(count), QUEUE_SEED: String(seed), QUEUE_SEARCHES: searches ? '1' : '' };
        return runVitest({ name: 'queue', filters: ['long.faults'], env }, context);
      });
    command
      .command('searches')
      .description('a run whose learner draws, and one whose workers do: attacks a second, processor time')
      .option('--workers <count>', 'worker processes', parsePositiveCount, 2)
      .option('--updates <count>', 'updates of each run', parsePositiveCount, 40)
      .addHelpText('after', examples('queue searches', 'queue searches --workers 4 --updates 100'))
      .action(({ workers, updates }: { readonly workers: number; readonly updates: number }) => {
        const env = { SEARCH_WORKERS: String(workers), SEARCH_UPDATES: String(updates) };
        return runVitest({ name: 'queue', filters: ['searches.measured'], env }, context);
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
    command
      .command('simulate')
      .description('up to 256 workers, from measured costs of one job')
      .option('--batch <count>', 'attacks of an update', parsePositiveCount, 1024)
      .option('--job <ms>', 'time of a job on its worker', parsePositive, 200)
      .option('--concurrency <count>', 'jobs at once of a worker', parsePositiveCount, 1)
      .option('--learner <ms>', 'processor time of the learner for one job', parsePositive, 0.9)
      .option('--redis <ms>', 'processor time of Redis for one job', parsePositive, 0.4)
      .option('--update <ms>', "the learner's own work of an update", parsePositive, 1000)
      .addHelpText('after', examples('queue simulate', 'queue simulate --job 1000 --batch 256'))
      .action((options: SimulationOptions) => reportSimulation(options, context));
    command
      .command('simulate-searches')
      .description('up to 256 workers that draw the attacks, from measured costs of one update')
      .option('--batch <count>', 'fresh attacks of an update', parsePositiveCount, 64)
      .option('--draw <ms>', 'time of a worker for one attack, log p_ref included', parsePositive, 106)
      .option('--answers <ms>', 'time until a search is answered', parsePositive, 200)
      .option('--adapter <mb>', 'adapter that is published, megabytes', parsePositive, 39)
      .option('--publish <ms>', "the learner's time for one megabyte", parsePositive, 3)
      .option('--update <ms>', "the learner's own work of an update", parsePositive, 10_600)
      .option('--depth <count>', 'searches under way at most', parsePositiveCount, 4)
      .addHelpText('after', examples('queue simulate-searches', 'queue simulate-searches --depth 16 --update 1300'))
      .action((options: SearchSimulationOptions) => reportSearchSimulation(options, context));
    return command.addHelpText('after', examples('queue faults --count 20', 'queue scaling'));
  },
};
