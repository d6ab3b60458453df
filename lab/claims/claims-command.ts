import { join } from 'node:path';
import { Option } from 'commander';
import { alignColumns, type CommandResult, printResult } from '../../src/cli/command-output.ts';
import { type CliContext, ioOf } from '../../src/cli/context.ts';
import { addRunsOption, parseCount, parsePositiveCount, type RunsOptions } from '../../src/cli/options.ts';
import { type Experiment, examples } from '../experiment.ts';
import { ARMS, type ArmName, BUDGETS } from './grounds/ground.ts';
import { GROUNDS, groundNamed } from './grounds/registry.ts';
import {
  CLAIM_PARTS,
  type ClaimPart,
  type ClaimsOutcome,
  decideFromFolders,
  resultsName,
  runClaims,
  writeOutcomes,
} from './run-claims.ts';

interface ClaimsOptions extends RunsOptions {
  readonly ground?: readonly string[];
  readonly budget?: readonly string[];
  readonly seeds?: number;
  readonly firstSeed: number;
  readonly arms: readonly ArmName[];
  readonly until: ClaimPart;
  readonly threads: number;
  readonly again?: boolean;
  readonly from?: readonly string[];
  readonly output?: string;
}

const HELP = `
Grounds:
${GROUNDS.map(({ name, describe, budgets, seeds }) => `  ${name}: ${describe} (${budgets.join(', ')} calls; ${seeds} seeds)`).join('\n')}

The parts in their order. Each part of every seed comes before the next part:
  attackers  every arm on the base target (the goals; C1, C2, most of C3)
  transfer   their attacks on further targets (C5)
  retrained  attackers retrained against a tuned target (the rest of C3, C4)
  tuned      targets tuned on every attacker's data (C6)

A stopped measurement resumes. Two processes share the seeds by --first-seed and --seeds, in one --runs-dir.
--from runs nothing: it decides from folders RUNS/claims/GROUND/BUDGET of one ground at one budget.
${examples(
  'claims',
  'claims --ground made --budget 2000 --seeds 5 --first-seed 5',
  'claims --ground smollm2 --budget 500 --until transfer',
  'claims --from here/claims/made/2000 there/claims/made/2000 --output docs/claims-data',
)}`;

const number = (value: number | null): string => (value === null ? '-' : value.toFixed(3));

type Interval = { readonly value: number | null; readonly low: number | null; readonly high: number | null };

const interval = ({ value, low, high }: Interval): string =>
  low === null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;

function describe({ results, goals, claims }: ClaimsOutcome): string {
  return [
    `${results.ground}, ${results.budget} calls, seeds ${results.seeds.map(({ seed }) => seed).join(', ')}`,
    '',
    alignColumns([
      ['goal', 'verdict', 'measured', 'to reach', 'figure'],
      ...goals.map(({ id, verdict, measure, goal, name }) => [id, verdict, interval(measure), goal, name]),
    ]),
    '',
    alignColumns([
      ['claim', 'verdict', 'worst component', 'seeds', 'statement'],
      ...claims.map((claim) => [
        claim.id,
        claim.verdict,
        interval(claim),
        String(claim.seeds),
        `${claim.statement}; ${claim.statistic}`,
      ]),
    ]),
  ].join('\n');
}

async function decideClaims(options: ClaimsOptions, context: CliContext): Promise<CommandResult> {
  const { from, runsDir, ground, budget, seeds, firstSeed, arms, until, threads, again = false } = options;
  const plan = {
    grounds: ground === undefined ? GROUNDS : ground.map(groundNamed),
    ...(budget === undefined ? {} : { budgets: budget.map(Number) }),
    ...(seeds === undefined ? {} : { seeds }),
    firstSeed,
    arms,
    until,
    threads,
    again,
    runsDir,
  };
  const outcomes = from === undefined ? await runClaims(plan, ioOf(context)) : [await decideFromFolders(from)];
  const output = options.output ?? (from === undefined ? join(runsDir, 'claims') : undefined);
  const files = output === undefined ? [] : await writeOutcomes(output, outcomes);
  const text = [
    ...outcomes.map(describe),
    `Statistics and rules: docs/claims.md.${files.length === 0 ? '' : ` Written: ${files.join(', ')}`}`,
  ].join('\n\n');
  const json = Object.fromEntries(outcomes.map(({ results, ...decided }) => [resultsName(results), decided]));
  return { text, json };
}

const NOT_WITH_FROM = ['ground', 'budget', 'seeds', 'arms', 'again'];

/** `npm run lab -- claims`. */
export const claims: Experiment = {
  name: 'claims',
  description:
    "the paper's claims and our goals at equal, scarce target calls, each of which can fail (docs/claims.md)",
  define: (command, context) =>
    addRunsOption(command)
      .addOption(new Option('--ground <name...>', 'where').choices(GROUNDS.map(({ name }) => name)))
      .addOption(new Option('--budget <calls...>', 'target calls of each attacker').choices(BUDGETS.map(String)))
      .option('--seeds <count>', 'seeds (default: those of each ground)', parsePositiveCount)
      .option('--first-seed <seed>', 'the first of them', parseCount, 0)
      .addOption(new Option('--arms <names...>', 'only these runs').choices(ARMS).default([...ARMS]))
      .addOption(new Option('--until <part>', 'stop after this part').choices(CLAIM_PARTS).default('attackers'))
      .option('--threads <count>', 'threads of the model runtime', parsePositiveCount, 1)
      .option('--again', 'reads the figures of finished runs again')
      .addOption(new Option('--from <folders...>', 'parts to decide from').conflicts(NOT_WITH_FROM))
      .option('--output <folder>', 'of summaries, tables and plots (default: RUNS/claims; none with --from)')
      .addHelpText('after', HELP)
      .action(async (options: ClaimsOptions) => printResult(context, await decideClaims(options, context))),
};
