import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Option } from 'commander';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { alignColumns, type CommandResult, printResult } from '../../src/cli/command-output.ts';
import { type CliContext, ioOf } from '../../src/cli/context.ts';
import { addRunsOption, parseCount, parsePositiveCount, type RunsOptions } from '../../src/cli/options.ts';
import { meanOverSeeds } from '../../src/metrics/intervals.ts';
import { measureText } from '../../src/report/words/number-words.ts';
import { admittedWorldSeed } from '../../src/stages/campaign/run-world.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { ATTACKERS } from '../attackers.ts';
import { areaUnderWays } from '../claims/discovery.ts';
import { BUDGETS } from '../claims/grounds/ground.ts';
import { GROUNDS, groundNamed } from '../claims/grounds/registry.ts';
import { groundFolder } from '../claims/measure-part.ts';
import { type GroundResults, gatherParts } from '../claims/part-file.ts';
import { type Experiment, examples } from '../experiment.ts';
import { loadAttacker } from './load-attacker.ts';
import { openBenchmarkWorld } from './open-benchmark-world.ts';
import { type BenchmarkScore, scoreAttacker } from './score-attacker.ts';

/** Grounds with planted ways: only there is the truth known. */
const WORLDS = GROUNDS.filter(({ firstWorldSeed }) => firstWorldSeed !== undefined).map(({ name }) => name);

interface BenchmarkOptions extends RunsOptions {
  readonly ground: string;
  readonly budget: string;
  readonly worlds: number;
  readonly firstSeed: number;
  readonly firstWorld?: number;
  readonly threads: number;
}

interface ScoredWorld extends BenchmarkScore {
  readonly worldSeed: number;
}

async function scoreWorlds(file: string, options: BenchmarkOptions, io: CampaignIo) {
  const attacker = await loadAttacker(file, io.signal);
  const ground = groundNamed(options.ground);
  const budget = Number(options.budget);
  const first = options.firstWorld ?? ground.firstWorldSeed?.(budget) ?? 0;
  const bar = io.progress.start('benchmark', options.worlds, 'worlds');
  const scores: ScoredWorld[] = [];
  for (let seed = options.firstSeed; seed < options.firstSeed + options.worlds; seed++) {
    if (io.signal.aborted) throw new FloodgateError('interrupted', `benchmark: interrupted before world ${seed}`);
    const configOf = (worldSeed: number) =>
      ground.config({ arm: 'baselines', seed, budget, worldSeed, threads: options.threads });
    const worldSeed = await admittedWorldSeed(first + seed, configOf, io);
    const world = await openBenchmarkWorld(await configOf(worldSeed), io);
    try {
      scores.push({ worldSeed, ...(await scoreAttacker(attacker, world, { budget, seed })) });
    } finally {
      await world.close();
    }
    bar.update(scores.length);
  }
  bar.finish();
  return { attacker: attacker.name, ground: ground.name, budget, scores };
}

/** Figures of one attacker over worlds, as a row of the table. */
interface Row {
  readonly name: string;
  readonly area: readonly number[];
  readonly found: readonly number[];
  readonly ways: readonly number[];
  readonly asr: readonly number[];
}

/** Our attackers' rows from the claims' runs of the same ground, budget and seeds; none where they were not made. */
async function ourRows(options: BenchmarkOptions, ways: number): Promise<Row[]> {
  const folder = groundFolder(options.runsDir, options.ground, Number(options.budget));
  // Other worlds are no match for the claims' seeds.
  if (!existsSync(folder) || options.firstWorld !== undefined) return [];
  const { seeds, budget }: GroundResults = await gatherParts([folder]);
  const { firstSeed, worlds } = options;
  const shared = seeds.filter(({ seed }) => seed >= firstSeed && seed < firstSeed + worlds);
  return ATTACKERS.flatMap((name) => {
    const figures = shared.flatMap(({ attackers }) => attackers[name] ?? []);
    const known = figures.flatMap(({ foundAt }) => (foundAt === undefined ? [] : [foundAt]));
    if (figures.length === 0) return [];
    return [
      {
        name,
        area: known.map((foundAt) => areaUnderWays(foundAt, budget)),
        found: known.map((foundAt) => foundAt.length / ways),
        ways: figures.map((each) => each.ways),
        asr: figures.map(({ asr }) => asr),
      },
    ];
  });
}

function tableOf(rows: readonly Row[]): string {
  const cell = (values: readonly number[]): string => (values.length === 0 ? '-' : measureText(meanOverSeeds(values)));
  return alignColumns([
    ['attacker', 'area under ways', 'ways found', 'ways of fresh', 'ASR of fresh', 'worlds'],
    ...rows.map(({ name, area, found, ways, asr }) => [
      name,
      ...[area, found, ways, asr].map(cell),
      String(Math.max(area.length, asr.length)),
    ]),
  ]);
}

async function runBenchmark(file: string, options: BenchmarkOptions, context: CliContext): Promise<CommandResult> {
  const result = await scoreWorlds(file, options, ioOf(context));
  const { attacker, ground, budget, scores } = result;
  await mkdir(options.runsDir, { recursive: true });
  const path = join(options.runsDir, `benchmark-${ground}-${budget}.json`);
  await writeFileAtomically(path, (handle) => handle.writeFile(`${JSON.stringify(result, null, 1)}\n`));
  const fresh = scores.flatMap((score) => score.fresh ?? []);
  const row: Row = {
    name: attacker,
    area: scores.map(({ area }) => area),
    found: scores.map(({ found }) => found),
    ways: fresh.map(({ ways }) => ways),
    asr: fresh.map(({ asr }) => asr),
  };
  const text = [
    `${ground}, ${budget} target calls; the protocol is docs/benchmark.md`,
    tableOf([row, ...(await ourRows(options, scores[0]?.planted ?? 1))]),
    `Written: ${path}`,
  ].join('\n\n');
  return { text, json: result };
}

/** `npm run lab -- benchmark`. */
export const benchmark: Experiment = {
  name: 'benchmark',
  description: 'an attacker of your own in our synthetic worlds, at equal target calls (docs/benchmark.md)',
  define: (command, context) =>
    addRunsOption(command)
      .argument('<module>', 'JavaScript or TypeScript module that exports the attacker by default')
      .addOption(new Option('--ground <name>', 'where').choices(WORLDS).default('made'))
      .addOption(
        new Option('--budget <calls>', 'target calls in each world').choices(BUDGETS.map(String)).default('2000'),
      )
      .option('--worlds <count>', 'worlds', parsePositiveCount, 10)
      .option('--first-seed <seed>', 'the first of them', parseCount, 0)
      .option('--first-world <seed>', 'worlds to try settings in (3000 to 3999): they judge nothing', parseCount)
      .option('--threads <count>', 'threads of the model runtime', parsePositiveCount, 1)
      .addHelpText('after', examples('benchmark lab/benchmark/hill-climber.ts --budget 500 --worlds 3'))
      .action(async (file: string, options: BenchmarkOptions) =>
        printResult(context, await runBenchmark(file, options, context)),
      ),
};
