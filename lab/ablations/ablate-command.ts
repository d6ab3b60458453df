import { join } from 'node:path';
import { Option } from 'commander';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { addRunsOption, parsePositiveCount, type RunsOptions } from '../../src/cli/options.ts';
import { measureText } from '../../src/report/words/number-words.ts';
import { type Experiment, examples } from '../experiment.ts';
import { type AblationResult, runAblations } from './run-ablations.ts';
import { VARIANTS } from './variants.ts';

interface AblateOptions extends RunsOptions {
  readonly seeds: number;
  readonly group?: readonly string[];
  readonly queue?: string;
}

const COLUMNS = [
  ['keys found', 'modeRecall'],
  ['ASR', 'asr'],
  ['share error', 'shareError'],
  ['unique', 'uniqueAttacks'],
  ['target calls', 'attackerTargetCalls'],
] as const;
/** Also given as the difference from the default. */
const GAINS = [
  ['keys: gain', 'modeRecall'],
  ['ASR: gain', 'asr'],
  ['share error: gain', 'shareError'],
] as const;

function ablationTable(results: readonly AblationResult[]): string {
  const rows = results.flatMap(({ group, name, attackers }) =>
    Object.entries(attackers).map(([attacker, { figures, gain }]) => [
      group,
      name,
      attacker,
      ...COLUMNS.map(([, figure]) => measureText(figures[figure])),
      ...GAINS.map(([, figure]) => (gain === undefined ? '-' : measureText(gain[figure]))),
    ]),
  );
  const headings = [...COLUMNS, ...GAINS].map(([heading]) => heading);
  return alignColumns([['group', 'variant', 'attacker', ...headings], ...rows]);
}

const GROUPS = [...new Set(VARIANTS.map(({ group }) => group))].filter((group) => group !== 'default');

async function ablateAll({ runsDir, seeds, group, queue }: AblateOptions, context: CliContext): Promise<void> {
  const { progress, signal, cacheDir } = context;
  const folder = join(runsDir, 'ablations');
  const io = { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
  const onWorkers = queue === undefined ? {} : { queue };
  const results = await runAblations({ seeds, groups: group, folder, ...onWorkers }, io);
  const file = join(folder, 'ablations.json');
  await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(results, null, 1)}\n`));
  printResult(context, { text: `${ablationTable(results)}\n\nWritten: ${file}`, json: { ablations: results } });
}

/** `npm run lab -- ablate`. */
export const ablate: Experiment = {
  name: 'ablate',
  description: 'the worth of each choice of the method, at equal target calls (docs/ablations.md)',
  define: (command, context) =>
    addRunsOption(command)
      .option('--seeds <count>', 'synthetic worlds', parsePositiveCount, 3)
      .addOption(new Option('--group <name...>', 'only these groups').choices(GROUPS))
      .option('--queue <url>', 'workers of this Redis do the runs: floodgate worker --queue URL')
      .addHelpText('after', examples('ablate', 'ablate --group objective replay --seeds 5 --json'))
      .action((options: AblateOptions) => ablateAll(options, context)),
};
