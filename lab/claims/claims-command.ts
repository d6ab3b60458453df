import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Option } from 'commander';
import { alignColumns, type CommandResult, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { addRunsOption, parseCount, parsePositiveCount, type RunsOptions } from '../../src/cli/options.ts';
import { ATTACKERS, type AttackerName } from '../attackers.ts';
import { type Experiment, examples } from '../experiment.ts';
import { CLAIM_WORLDS, type ClaimWorld } from './claims-configs.ts';
import { writeClaims } from './claims-plot.ts';
import type { DecidedClaim } from './decide.ts';
import { CLAIM_PARTS, type ClaimPart, type ClaimsOutcome, decideFromFiles, runClaims } from './run-claims.ts';

interface ClaimsOptions extends RunsOptions {
  readonly world: ClaimWorld;
  readonly seeds?: number;
  readonly seed?: number;
  readonly until: ClaimPart;
  readonly attackers?: readonly AttackerName[];
  readonly from?: readonly string[];
  readonly output?: string;
}

const NOT_WITH_FROM = ['seeds', 'seed', 'until', 'attackers'];

const HELP = `
The parts in their order. Each part of every seed comes before the next part:
  attackers  on the base target (C1, C2, most of C3)
  transfer   their attacks on further targets (C5)
  retrained  attackers retrained against a tuned target (the rest of C3, C4)
  tuned      targets tuned on every attacker's data (C6)

A stopped measurement resumes: it keeps finished seeds, runs and cells of matrices.

--from runs nothing: it decides from seeds that were measured elsewhere, all with the same settings. Files of one
seed are joined; an attacker that was measured again with other settings replaces the earlier one.
${examples(
  'claims',
  'claims --seeds 2 --until attackers --json',
  'claims --world smollm2 --until transfer',
  'claims --world smollm2 --seed 1',
  'claims --from here/seed-0.json there/seed-1.json --output both',
  'claims --world smollm2 --seed 0 --attackers reinforce reinforce-smoothing --runs-dir again',
)}`;

const DEFAULT_SEEDS: Readonly<Record<ClaimWorld, number>> = { 'proving-ground': 5, smollm2: 3 };

const number = (value: number | null): string => (value === null ? '-' : value.toFixed(3));

function claimsTable(claims: readonly DecidedClaim[]): string {
  const rows = claims.map(({ id, statement, value, low, high, verdict, seeds }) => [
    id,
    verdict,
    value === null ? '-' : `${number(value)} [${number(low)}, ${number(high)}]`,
    String(seeds),
    statement,
  ]);
  return alignColumns([['claim', 'verdict', 'worst component', 'seeds', 'statement'], ...rows]);
}

function measureClaims(options: ClaimsOptions, folder: string, context: CliContext): Promise<ClaimsOutcome> {
  const { world, until, attackers, seed, seeds: count = DEFAULT_SEEDS[world] } = options;
  const seeds = seed === undefined ? Array.from({ length: count }, (_, at) => at) : [seed];
  const plan = { world, seeds, until, folder, ...(attackers === undefined ? {} : { attackers }) };
  const { progress, signal, cacheDir } = context;
  return runClaims(plan, { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) });
}

async function decideClaims(options: ClaimsOptions, context: CliContext): Promise<CommandResult> {
  const { from, runsDir } = options;
  const folder = join(runsDir, `claims-${options.world}`);
  const output = options.output ?? (from === undefined ? folder : undefined);
  if (output !== undefined) await mkdir(output, { recursive: true });
  const outcome = await (from === undefined ? measureClaims(options, folder, context) : decideFromFiles(from));
  const files = output === undefined ? [] : await writeClaims(output, outcome);
  const components = outcome.claims.flatMap(({ id, components: all }) =>
    all.map(({ name, verdict, value, low, high, threshold }) => [
      id,
      verdict,
      `${number(value)} [${number(low)}, ${number(high)}]`,
      String(threshold),
      name,
    ]),
  );
  const text = [
    claimsTable(outcome.claims),
    '',
    alignColumns([['claim', 'verdict', 'mean [95%]', 'threshold', 'component'], ...components]),
    '',
    `Statistics and rules: docs/claims.md.${files.length === 0 ? '' : ` Written: ${files.join(', ')}`}`,
  ].join('\n');
  return { text, json: { world: outcome.world, claims: outcome.claims } };
}

/** `npm run lab -- claims`. */
export const claims: Experiment = {
  name: 'claims',
  description: "the paper's claims, each of which can fail (docs/claims.md)",
  define: (command, context) =>
    addRunsOption(command)
      .addOption(new Option('--world <world>', 'where').choices(CLAIM_WORLDS).default('proving-ground'))
      .option('--seeds <count>', 'seeds (default: 5 in synthetic worlds, 3 on smollm2)', parsePositiveCount)
      .addOption(
        new Option('--seed <seed>', 'this seed alone: one per core or machine, then --seeds or --from')
          .argParser(parseCount)
          .conflicts('seeds'),
      )
      .addOption(new Option('--until <part>', 'stop after this part').choices(CLAIM_PARTS).default('tuned'))
      .addOption(new Option('--attackers <names...>', 'measure only these').choices(ATTACKERS))
      .addOption(new Option('--from <files...>', "seeds' results to decide from").conflicts(NOT_WITH_FROM))
      .option('--output <folder>', 'of claims.json and the plots (default: beside the seeds; none with --from)')
      .addHelpText('after', HELP)
      .action(async (options: ClaimsOptions) => printResult(context, await decideClaims(options, context))),
};
