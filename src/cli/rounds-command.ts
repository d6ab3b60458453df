import { basename, extname, join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { RUN_NAME_PATTERN } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { measureText } from '../report/words/number-words.ts';
import { stages } from '../stages/registry.ts';
import type { Rounds } from '../studies/rounds/rounds-file.ts';
import { loadRoundsConfig, runRounds } from '../studies/rounds/run-rounds.ts';
import { alignColumns, type CommandResult, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo } from './context.ts';
import {
  addCallOptions,
  addRunsOption,
  addSetOption,
  type CallOptions,
  parsePositiveCount,
  type RunsOptions,
  type SetOptions,
} from './options.ts';
import { usefulnessText } from './robustness-command.ts';
import { announceStudy } from './start-line.ts';

interface RoundsOptions extends RunsOptions, SetOptions, CallOptions {
  readonly rounds: number;
  readonly attacker: string;
  readonly name?: string;
}

const EXAMPLES = `
Each round trains the attacker from scratch against the target that the rounds before have tuned, and tunes the target on
the attacks that succeeded. The result shows what each round found that no earlier one had, and the success rate of its
attacks against the target of every other round. docs/robustness.md says how to read it.

Examples:
  floodgate rounds examples/smollm2.yaml --rounds 3
  floodgate rounds world.yaml --rounds 2 --attacker ppo --set tuning.epochs=4 --json

The same command resumes where it stopped; with more --rounds it adds rounds. They are in RUNS/NAME-rounds.`;

function roundsText({ rounds, targets, cells, reportedJudge, attacker }: Rounds, folder: string): string {
  const figure = (judges: Rounds['cells'][number]['judges'], metric: 'asr' | 'uniqueAttacks'): string =>
    measureText(judges.find(({ name }) => name === reportedJudge)?.[metric]);
  const found = rounds.map(({ round, judges, clusters, newClusters }) => [
    String(round),
    figure(judges, 'asr'),
    String(clusters),
    String(newClusters),
  ]);
  const columns = targets.map((_, version) => (version === 0 ? 'untuned' : `after round ${version}`));
  const cross = rounds.map(({ round }) => [
    `round ${round}`,
    ...targets.map((_, version) => {
      const cell = cells.find(({ attacks, target }) => attacks === round && target === version);
      return cell === undefined ? '-' : `${figure(cell.judges, 'asr')}${cell.isLearned ? ' *' : ''}`;
    }),
  ]);
  const last = rounds.at(-1);
  return [
    `${attacker}, round after round, by ${reportedJudge}`,
    alignColumns([['round', 'success rate', 'clusters', 'new clusters'], ...found]),
    '',
    'success rate of the attacks of each round against the target of every round',
    alignColumns([['attacks of', ...columns], ...cross]),
    '* the target learned to refuse exactly these attacks: no evidence of resistance',
    '',
    usefulnessText(targets),
    ...targets.flatMap(({ name, warnings }) => warnings.map((warning) => `warning: ${name}: ${warning}`)),
    ...(last?.status === 'nothing-found'
      ? [`round ${last.round} found no successful attack to tune on; no further round was started`]
      : []),
    '',
    `Written: ${join(folder, 'rounds.json')}`,
  ].join('\n');
}

async function attackInRounds(file: string, options: RoundsOptions, context: CliContext): Promise<CommandResult> {
  const { runsDir, rounds, attacker, set } = options;
  if (rounds < 1) throw new FloodgateError('usage', `--rounds: got ${rounds}, expected at least 1`);
  const config = await loadRoundsConfig(file, set);
  const name = options.name ?? `${config.name ?? basename(file, extname(file))}-rounds`;
  if (!RUN_NAME_PATTERN.test(name)) {
    const got = JSON.stringify(name);
    throw new FloodgateError('usage', `rounds --name: got ${got}, expected letters, digits, dot, dash, underscore`);
  }
  const folder = join(runsDir, name);
  announceStudy(`${rounds} rounds of ${attacker}`, resolve(folder), context);
  const outcome = await runRounds({ config, attacker, rounds, folder }, callsIo(context, options));
  return { text: roundsText(outcome, folder), json: { ...outcome, folder } };
}

/** Adds `floodgate rounds`. */
export function registerRoundsCommand(program: Command, context: CliContext): void {
  const learners = stages.all().filter(({ knowsTarget }) => knowsTarget === 'learns');
  const command = program.command('rounds').description(COMMAND_WORDS.rounds);
  addCallOptions(addSetOption(addRunsOption(command)))
    .argument('<config>', 'config file')
    .requiredOption('--rounds <count>', 'rounds', parsePositiveCount)
    .addOption(
      new Option('--attacker <name>', 'who attacks').choices(learners.map(({ name }) => name)).default('smoothing'),
    )
    .option('--name <name>', 'folder below the runs (default: NAME-rounds, of the config)')
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, options: RoundsOptions) =>
      printResult(context, await attackInRounds(file, options, context)),
    );
}
