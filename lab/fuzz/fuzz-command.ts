import { Option } from 'commander';
import { FloodgateError } from '../../src/base/errors.ts';
import { printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { type Experiment, examples } from '../experiment.ts';
import { fuzzTargetNames, runFuzz } from './run-fuzz.ts';

interface FuzzOptions {
  readonly count: number;
  readonly seed: number;
  readonly from: number;
  readonly target?: readonly string[];
}

/** @throws FloodgateError `run` when there are findings; `interrupted` on abort. */
async function fuzzAll({ target, ...options }: FuzzOptions, context: CliContext): Promise<void> {
  const { lines, findings } = await runFuzz({ ...options, targets: target }, context.signal);
  if (findings === 0 || !context.json) {
    printResult(context, { text: [...lines, `${findings} findings`].join('\n'), json: { targets: lines, findings } });
  }
  if (findings === 0) return;
  throw new FloodgateError('run', `fuzz: got ${findings} findings, expected none`, {
    hint: 'the FINDING lines above hold the options that repeat them',
  });
}

/** `npm run lab -- fuzz`. */
export const fuzz: Experiment = {
  name: 'fuzz',
  description: 'hostile inputs at everything that reads a foreign file (docs/fuzzing.md)',
  define: (command, context) =>
    command
      .addOption(new Option('--target <name...>', 'only these parsers').choices(fuzzTargetNames()))
      .option('--count <count>', 'inputs of each parser', parsePositiveCount, 100_000)
      .option('--seed <seed>', 'seed of the inputs', parseCount, 1)
      .option('--from <index>', 'first input', parseCount, 0)
      .addHelpText(
        'after',
        examples('fuzz', 'fuzz --target gguf --count 1000', 'fuzz --target wheel --from 17 --count 1'),
      )
      .action((options: FuzzOptions) => fuzzAll(options, context)),
};
