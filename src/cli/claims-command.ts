import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { ATTACKERS, type AttackerName } from '../campaign/attackers/attacker-names.ts';
import { CLAIM_WORLDS, type ClaimWorld } from '../campaign/claims/claims-configs.ts';
import type { DecidedClaim } from '../campaign/claims/decide.ts';
import { CLAIM_PARTS, type ClaimPart } from '../campaign/claims/measure-seed.ts';
import { type ClaimsOutcome, decideFromFiles, runClaims } from '../campaign/claims/run-claims.ts';
import type { SeedResult } from '../campaign/claims/seed-result.ts';
import { type PlotPoint, scatterSvg } from '../report/claims-plot.ts';
import { alignColumns, type CommandResult, printResult } from './command-result.ts';
import { addRunsOption, type RunsOptions } from './common-options.ts';
import type { CliContext } from './context.ts';
import { parseCount, parsePositiveCount } from './parse-count.ts';

interface ClaimsOptions extends RunsOptions {
  readonly world: ClaimWorld;
  readonly seeds?: number;
  readonly seed?: number;
  readonly until: ClaimPart;
  readonly attackers?: readonly AttackerName[];
  readonly from?: readonly string[];
}

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

/** The mean over seeds of two figures of each attacker. */
function points(
  seeds: readonly SeedResult[],
  pick: (figures: NonNullable<SeedResult['attackers']['sft']>) => readonly [number | undefined, number],
): PlotPoint[] {
  return ATTACKERS.flatMap((name) => {
    const pairs = seeds.flatMap(({ attackers }) => {
      const figures = attackers[name];
      const [x, y] = figures === undefined ? [undefined, 0] : pick(figures);
      return x === undefined ? [] : [[x, y] as const];
    });
    if (pairs.length === 0) return [];
    const mean = (at: 0 | 1): number => pairs.reduce((sum, pair) => sum + pair[at], 0) / pairs.length;
    return [{ name, x: mean(0), y: mean(1) }];
  });
}

async function writeResults(folder: string, { world, claims, seeds }: ClaimsOutcome): Promise<string[]> {
  const plots = [
    {
      file: 'asr-by-cosine-distance.svg',
      plot: {
        title: 'Success and diversity, a point a method (mean over seeds)',
        xLabel: 'mean cosine distance between attacks',
        yLabel: 'attack success rate',
        points: points(seeds, ({ cosineDistance, asr }) => [cosineDistance, asr]),
      },
    },
    {
      file: 'unique-by-target-calls.svg',
      plot: {
        title: 'Unique attacks, and the target calls they took',
        xLabel: 'target calls used before the evaluation',
        yLabel: 'unique attacks',
        points: points(seeds, ({ targetCalls, uniqueAttacks }) => [targetCalls, uniqueAttacks]),
      },
    },
  ];
  const files = [join(folder, 'claims.json')];
  const json = JSON.stringify({ world, claims, results: seeds }, null, 1);
  await writeFileAtomically(join(folder, 'claims.json'), (handle) => handle.writeFile(`${json}\n`));
  for (const { file, plot } of plots) {
    if (plot.points.length === 0) continue;
    await writeFileAtomically(join(folder, file), (handle) => handle.writeFile(scatterSvg(plot)));
    files.push(join(folder, file));
  }
  return files;
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
  const outcome = await (from === undefined ? measureClaims(options, folder, context) : decideFromFiles(from));
  const files = from === undefined ? await writeResults(folder, outcome) : [];
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

/** Adds `floodgate claims`. */
export function registerClaimsCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('claims').description("measure the paper's claims, each of which can fail"))
    .addOption(new Option('--world <world>', 'where').choices(CLAIM_WORLDS).default('proving-ground'))
    .option('--seeds <count>', 'seeds (default: 5 on the proving ground, 3 on smollm2)', parsePositiveCount)
    .addOption(
      new Option('--seed <seed>', 'this seed alone: one a core or a machine, then --seeds or --from')
        .argParser(parseCount)
        .conflicts('seeds'),
    )
    .addOption(new Option('--until <part>', 'stop after this part').choices(CLAIM_PARTS).default('tuned'))
    .addOption(new Option('--attackers <names...>', 'measure these alone').choices(ATTACKERS))
    .addOption(
      new Option('--from <files...>', "seeds' results to decide from").conflicts([
        'seeds',
        'seed',
        'until',
        'attackers',
      ]),
    )
    .addHelpText(
      'after',
      `
The parts, in their order, each of every seed before the next:
  attackers  on the base target (C1, C2, most of C3)
  transfer   their attacks on further targets (C5)
  retrained  attackers trained against a tuned target (the rest of C3, C4)
  tuned      targets tuned on every attacker's data (C6)

Goes on where it was stopped: seeds, runs and cells of matrices that are there are kept.

--from runs nothing: it decides from seeds measured elsewhere, each with the same settings. Files of one
seed are joined; an attacker that was measured again with other settings stands in for the earlier one.

Examples:
  floodgate claims
  floodgate claims --seeds 2 --until attackers --json
  floodgate claims --world smollm2 --until transfer
  floodgate claims --world smollm2 --seed 1
  floodgate claims --from here/seed-0.json there/seed-1.json
  floodgate claims --world smollm2 --seed 0 --attackers reinforce reinforce-smoothing --runs-dir again`,
    )
    .action(async (options: ClaimsOptions) => printResult(context, await decideClaims(options, context)));
}
