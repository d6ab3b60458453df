import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { alignColumns, printResult } from '../../src/cli/command-result.ts';
import { addRunsOption, type RunsOptions } from '../../src/cli/common-options.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { parsePositiveCount } from '../../src/cli/parse-count.ts';
import { measureText } from '../../src/report/run-overview.ts';
import { type AblationResult, runAblations } from './run-ablations.ts';
import { VARIANTS } from './variants.ts';

interface AblateOptions extends RunsOptions {
  readonly seeds: number;
  readonly group?: readonly string[];
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

/** Adds `floodgate ablate`. */
export function registerAblateCommand(program: Command, context: CliContext): void {
  const groups = [...new Set(VARIANTS.map(({ group }) => group))].filter((group) => group !== 'default');
  addRunsOption(
    program
      .command('ablate')
      .description('what each choice of the method is worth, in made worlds at equal target calls'),
  )
    .option('--seeds <count>', 'made worlds', parsePositiveCount, 3)
    .addOption(new Option('--group <name...>', 'only these groups').choices(groups))
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate ablate\n  floodgate ablate --group objective replay --seeds 5 --json',
    )
    .action(async ({ runsDir, seeds, group }: AblateOptions) => {
      const { progress, signal, cacheDir } = context;
      const folder = join(runsDir, 'ablations');
      const io = { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
      const results = await runAblations({ seeds, groups: group, folder }, io);
      const file = join(folder, 'ablations.json');
      await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(results, null, 1)}\n`));
      printResult(context, { text: `${ablationTable(results)}\n\nWritten: ${file}`, json: { ablations: results } });
    });
}
