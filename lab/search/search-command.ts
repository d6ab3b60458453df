import { join } from 'node:path';
import { Option } from 'commander';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { addRunsOption, parsePositiveCount, type RunsOptions } from '../../src/cli/options.ts';
import { type Experiment, examples } from '../experiment.ts';
import { bestTrials, runSearch, type SearchTrial } from './run-search.ts';
import { SEARCHED, type SearchedAttacker } from './search-spaces.ts';

interface SearchOptions extends RunsOptions {
  readonly attacker?: readonly SearchedAttacker[];
  readonly trials: number;
  readonly worlds: number;
}

const figures = (trial: SearchTrial, figure: 'modeRecall' | 'asr'): string =>
  trial.rows.map((row) => row?.[figure]?.toFixed(3) ?? '-').join(', ');

function trialTable(trials: readonly SearchTrial[]): string {
  const best = new Set(bestTrials(trials));
  return alignColumns([
    ['attacker', 'trial', 'score', 'keys found', 'ASR', 'settings'],
    ...trials.map((trial) => [
      trial.attacker,
      `${trial.trial}${best.has(trial) ? '*' : ''}`,
      trial.score.toFixed(3),
      figures(trial, 'modeRecall'),
      figures(trial, 'asr'),
      trial.overrides.join(' ') || 'defaults',
    ]),
  ]);
}

async function searchAll({ runsDir, attacker, trials, worlds }: SearchOptions, context: CliContext): Promise<void> {
  const { progress, signal, cacheDir } = context;
  const folder = join(runsDir, 'search');
  const io = { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
  const found = await runSearch({ attackers: attacker ?? SEARCHED, trials, worlds, folder }, io);
  const file = join(folder, 'search.json');
  await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(found, null, 1)}\n`));
  printResult(context, {
    text: `${trialTable(found)}\n\n* best of its attacker. Written: ${file}`,
    json: { trials: found, best: bestTrials(found) },
  });
}

/** `npm run lab -- search`. */
export const search: Experiment = {
  name: 'search',
  description: "every attacker's settings, all searched alike (docs/search.md)",
  define: (command, context) =>
    addRunsOption(command)
      .addOption(new Option('--attacker <name...>', 'only these').choices(SEARCHED))
      .option('--trials <count>', 'of each attacker, its defaults among them', parsePositiveCount, 10)
      .option('--worlds <count>', 'synthetic worlds that each trial runs in', parsePositiveCount, 2)
      .addHelpText(
        'after',
        `
Trials are drawn at random, the same in every search. Score: keys found x ASR, mean over worlds. * marks the best.
${examples('search', 'search --attacker ppo reinforce --trials 20 --json')}`,
      )
      .action((options: SearchOptions) => searchAll(options, context)),
};
