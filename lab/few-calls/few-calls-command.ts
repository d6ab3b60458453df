import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Option } from 'commander';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { addRunsOption, parsePositiveCount, type RunsOptions } from '../../src/cli/options.ts';
import { meanOverSeeds } from '../../src/metrics/intervals.ts';
import { measureText } from '../../src/report/words/number-words.ts';
import { admittedWorldSeed } from '../../src/stages/campaign/run-world.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { type Experiment, examples } from '../experiment.ts';
import { type AttackerRow, type AttackerRows, keptRow, type RowFigure } from '../small-worlds/attacker-rows.ts';
import { fewCallsConfig, JUDGING_SEED, SEARCH_SEED, SETTINGS, type Setting } from './settings.ts';

interface FewCallsOptions extends RunsOptions {
  readonly calls: number;
  readonly worlds: number;
  readonly judging?: boolean;
  readonly settings?: readonly string[];
}

/** Rows of one attacker under one setting, a world each. */
interface Measured {
  readonly setting: string;
  readonly attacker: string;
  readonly rows: readonly AttackerRow[];
}

function measuredRows(setting: Setting, worlds: readonly AttackerRows[]): Measured[] {
  return setting.attackers.map((attacker) => ({
    setting: setting.name,
    attacker,
    rows: worlds.flatMap((world) => world[attacker] ?? []),
  }));
}

async function measure(options: FewCallsOptions, io: CampaignIo): Promise<Measured[]> {
  const { calls, worlds, judging, settings: wanted, runsDir } = options;
  const folder = join(runsDir, `few-calls-${calls}${judging === true ? '-judging' : ''}`);
  await mkdir(folder, { recursive: true });
  const first = judging === true ? JUDGING_SEED : SEARCH_SEED;
  const settings = SETTINGS.filter(({ name }) => wanted?.includes(name) ?? true);
  const rows = new Map<string, AttackerRows[]>(settings.map(({ name }) => [name, []]));
  const bar = io.progress.start('few calls', worlds * settings.length, 'runs');
  let done = 0;
  for (let world = 0; world < worlds; world++) {
    const configOf = async (setting: Setting, seed: number) => fewCallsConfig(setting, calls, world, seed);
    const worldSeed = await admittedWorldSeed(first + world, (each) => configOf(SETTINGS[0] as Setting, each), io);
    for (const setting of settings) {
      const config = await configOf(setting, worldSeed);
      const run = { name: `${setting.name}-${world}`, config, attackers: setting.attackers, folder };
      rows.get(setting.name)?.push(await keptRow(run, io));
      bar.update(++done);
    }
  }
  bar.finish();
  return settings.flatMap((setting) => measuredRows(setting, rows.get(setting.name) ?? []));
}

const COLUMNS = [
  ['keys found', 'modeRecall'],
  ['ASR', 'asr'],
  ['unique', 'uniqueAttacks'],
  ['target calls', 'attackerTargetCalls'],
] as const;

function fewCallsTable(measured: readonly Measured[]): string {
  const known = (rows: readonly AttackerRow[], figure: RowFigure): number[] => rows.flatMap((row) => row[figure] ?? []);
  const cells = measured.map(({ setting, attacker, rows }) => {
    const products = rows.map(({ modeRecall, asr }) => (modeRecall ?? 0) * (asr ?? 0));
    return [
      setting,
      attacker,
      ...COLUMNS.map(([, figure]) => measureText(meanOverSeeds(known(rows, figure)))),
      measureText(meanOverSeeds(products)),
    ];
  });
  return alignColumns([['setting', 'attacker', ...COLUMNS.map(([heading]) => heading), 'keys x ASR'], ...cells]);
}

async function runFewCalls(options: FewCallsOptions, context: CliContext): Promise<void> {
  const { progress, signal, cacheDir } = context;
  const measured = await measure(options, { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) });
  const file = join(options.runsDir, `few-calls-${options.calls}${options.judging === true ? '-judging' : ''}.json`);
  await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(measured, null, 1)}\n`));
  printResult(context, {
    text: `${fewCallsTable(measured)}\n\nWritten: ${file}`,
    json: { calls: options.calls, measured },
  });
}

/** `npm run lab -- few-calls`. */
export const fewCalls: Experiment = {
  name: 'few-calls',
  description: 'attackers and settings at equal, scarce target calls in synthetic worlds (docs/method.md)',
  define: (command, context) =>
    addRunsOption(command)
      .option('--calls <count>', 'target calls of each attacker', parsePositiveCount, 10_000)
      .option('--worlds <count>', 'synthetic worlds', parsePositiveCount, 3)
      .option('--judging', 'in the worlds that judge; settings are chosen in the others')
      .addOption(new Option('--settings <names...>', 'only these').choices(SETTINGS.map(({ name }) => name)))
      .addHelpText('after', examples('few-calls', 'few-calls --calls 2000 --worlds 5 --settings updates-4 baselines'))
      .action((options: FewCallsOptions) => runFewCalls(options, context)),
};
