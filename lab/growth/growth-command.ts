import { printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { parsePositiveCount } from '../../src/cli/options.ts';
import { type Experiment, examples } from '../experiment.ts';
import { folderGrowth } from './folder-growth.ts';
import { generatorGrowth } from './generator-growth.ts';
import { type Growth, growthText, type Measuring, slopeOf } from './measured.ts';
import { metricsGrowth } from './metrics-growth.ts';

interface GrowthOptions {
  readonly folders: number;
  readonly sets: number;
  readonly model?: string;
  readonly threads: number;
}

/** Powers of ten from 1,000 to `most`, and `most`. */
function sizesTo(most: number, factor: number): number[] {
  const sizes = [];
  for (let size = 1000; size < most; size *= factor) sizes.push(size);
  return [...sizes, most];
}

async function measure(options: GrowthOptions, context: CliContext): Promise<void> {
  const measuring: Measuring = { say: (line) => context.notify(line) };
  const growths: Growth[] = [
    ...(await folderGrowth(sizesTo(options.folders, 10), measuring)),
    ...(await metricsGrowth(sizesTo(options.sets, 2), measuring)),
    ...(options.model === undefined ? [] : await generatorGrowth(options.model, options.threads, measuring)),
  ];
  const json = { growths: growths.map((growth) => ({ ...growth, exponent: slopeOf(growth) ?? null })) };
  printResult(context, { text: growthText(growths), json });
}

/** `npm run lab -- growth`. */
export const growth: Experiment = {
  name: 'growth',
  description: 'how processor time grows with attacks, batch and context (docs/performance.md)',
  define: (command, context) =>
    command
      .option('--folders <count>', 'attacks of the largest run', parsePositiveCount, 1_000_000)
      .option('--sets <count>', 'attacks of the largest evaluation', parsePositiveCount, 16_000)
      .option('--model <spec>', 'a language model whose batch and context grow too')
      .option('--threads <count>', 'threads of the model', parsePositiveCount, 1)
      .addHelpText(
        'after',
        examples('growth', 'growth --folders 10000 --sets 2000', 'growth --model smollm2-135m-instruct'),
      )
      .action((options: GrowthOptions) => measure(options, context)),
};
