import type { Command } from 'commander';
import { type Comparison, compareRuns } from '../report/compare/compare-runs.ts';
import { type ComparedWay, WAY_STATES } from '../report/compare/compared-ways.ts';
import { figureRows, STATE_WORDS, sharedWords } from '../report/compare/comparison-words.ts';
import { counted } from '../report/words/number-words.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { alignColumns, joinLines, printable, printableWithin, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import type { CliContext } from './context.ts';
import { addRunsOption, parseCount, type RunsOptions } from './options.ts';

interface CompareOptions extends RunsOptions {
  readonly ways: number;
}

const SETTING_WIDTH = 60;

function figuresText(comparison: Comparison): string {
  const rows = figureRows(comparison);
  if (rows.length === 0) return 'The runs share no evaluated attacker.';
  return alignColumns([
    ['attacker', 'figure', ...comparison.runs.map(({ name }) => name), 'last - first'],
    ...rows.map(({ attacker, figure, values, difference }) => [attacker, figure, ...values, difference]),
  ]);
}

function inRunsText(way: ComparedWay, names: readonly string[]): string {
  return way.runs
    .map(({ isFound, asked, succeeded }, run) => {
      return `${names[run]}: ${isFound ? 'found' : 'not found'}, ${succeeded} of ${asked} attacks with it succeeded`;
    })
    .join('; ');
}

function waysText({ runs, ways }: Comparison, shown: number): string {
  if (ways.length === 0) return 'No run knows its ways by their causes.';
  const counts = WAY_STATES.flatMap((state) => {
    const count = ways.filter((way) => way.state === state).length;
    return count === 0 ? [] : [`  ${counted(count, 'way')} ${STATE_WORDS[state]}`];
  });
  const names = runs.map(({ name }) => name);
  const listed = WAY_STATES.flatMap((state) => {
    const those = ways.filter((way) => way.state === state).slice(0, shown);
    return those.flatMap((way) => [`${state}: ${way.cause}`, `    ${inRunsText(way, names)}`]);
  });
  return joinLines([`${counted(ways.length, 'way')} in all, by their causes:`, ...counts, ...listed]);
}

function settingsText({ runs, settings }: Comparison): string {
  if (settings.length === 0) return 'The settings are the same.';
  const cell = (value: string | undefined): string =>
    value === undefined ? '-' : printableWithin(value, SETTING_WIDTH);
  return alignColumns([
    ['setting', ...runs.map(({ name }) => name)],
    ...settings.map(({ key, values }) => [key, ...values.map(cell)]),
  ]);
}

function textOf(comparison: Comparison, { ways }: CompareOptions): string {
  return [
    ...comparison.warnings.map((warning) => `warning: ${printable(warning)}`),
    figuresText(comparison),
    printable(sharedWords(comparison)),
    waysText(comparison, ways),
    settingsText(comparison),
  ].join('\n\n');
}

/** The comparison without texts of attacks, unless ways are asked for. */
function jsonOf(comparison: Comparison, { ways }: CompareOptions): object {
  if (ways > 0) return comparison;
  return { ...comparison, ways: comparison.ways.map(({ cause: _cause, example: _example, ...way }) => way) };
}

/** Adds `floodgate compare`. */
export function registerCompareCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('compare').description(COMMAND_WORDS.compare))
    .argument('<runs...>', 'names or paths of two or more runs, the oldest first')
    .option(
      '--ways <count>',
      'show so many ways of each kind with their causes, which are parts of attacks',
      parseCount,
      0,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate compare before after\n  floodgate compare monday tuesday wednesday --ways 5',
    )
    .action(async (names: readonly string[], options: CompareOptions) => {
      const folders = await Promise.all(names.map((name) => openRunFolder(name, options.runsDir)));
      const comparison = await compareRuns(folders);
      printResult(context, { text: textOf(comparison, options), json: jsonOf(comparison, options) });
    });
}
