import { resolve } from 'node:path';
import { FloodgateError } from '../../src/base/errors.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import { type CliContext, ioOf } from '../../src/cli/context.ts';
import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { causesStage } from '../../src/runs/store/stage-name.ts';
import { finishRun } from '../../src/stages/campaign/run-campaign.ts';
import { isRefusal } from '../../src/stages/campaign/run-world.ts';
import { storedCauses } from '../../src/stages/evaluation/causes-record.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { type Experiment, examples } from '../experiment.ts';
import { smallWorldConfig } from '../small-worlds/small-world.ts';

/** A perfect attacker: every key has its share of the attacks. */
const ATTACKER = 'exact';

/** Share of the causes that must hold exactly one planted key and nothing of another. */
const GOAL = 0.95;

interface CausesOptions {
  readonly worlds: number;
  readonly seed: number;
  readonly runsDir: string;
  readonly set: readonly string[];
}

/** The causes found in one world, beside its truth. */
interface WorldRow {
  readonly world: number;
  readonly successes: number;
  readonly searched: number;
  readonly unstable: number;
  readonly unknown: number;
  readonly targetCalls: number;
  readonly oneKey: number | null;
  readonly pure: number | null;
  readonly keyRecall: number | null;
  readonly ways: number | null;
  readonly keysInSuccesses: number | null;
}

/** Runs the causes of one world; undefined for a world that is refused. */
async function runWorld(world: number, { runsDir, set }: CausesOptions, io: CampaignIo): Promise<WorldRow | undefined> {
  const config = smallWorldConfig({
    purpose: 'causes',
    seed: world,
    worldSeed: world,
    attackers: [ATTACKER],
    overrides: ['threads=1', ...set],
  });
  let databasePath: string;
  try {
    ({ databasePath } = await finishRun(config, resolve(runsDir), `causes-${world}`, io));
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
  const store = await openStore(databasePath, { readOnly: true });
  try {
    const causes = storedCauses(store, ATTACKER);
    if (causes === undefined) throw new FloodgateError('run', `causes: world ${world} has no stored causes`);
    const { successes, searched, unstable, unknown } = causes;
    const name = causesStage(ATTACKER);
    const figure = (metric: string): number | null => store.metrics(name, metric).at(-1)?.value ?? null;
    return {
      world,
      successes,
      searched,
      unstable,
      unknown,
      targetCalls: store.cost(name).targetCalls,
      oneKey: figure('causesOneKey'),
      pure: figure('causesPure'),
      keyRecall: figure('causesKeyRecall'),
      ways: figure('ways'),
      keysInSuccesses: figure('keysInSuccesses'),
    };
  } finally {
    store.close();
  }
}

const HEADINGS = [
  'world',
  'successes',
  'searched',
  'unstable',
  'unknown',
  'target calls',
  'one key',
  'pure',
  'keys found',
  'ways',
  'keys in successes',
] as const;

function describe(rows: readonly WorldRow[], refused: readonly number[]): string {
  const cell = (value: number | null, digits = 3): string => (value === null ? '-' : value.toFixed(digits));
  const lines = rows.map((row) => [
    ...[row.world, row.successes, row.searched, row.unstable, row.unknown, row.targetCalls].map(String),
    ...[cell(row.oneKey), cell(row.pure), cell(row.keyRecall), cell(row.ways, 0), cell(row.keysInSuccesses, 0)],
  ]);
  const mean = (pick: (row: WorldRow) => number | null): number =>
    rows.reduce((sum, row) => sum + (pick(row) ?? 0), 0) / Math.max(1, rows.length);
  const pure = mean((row) => row.pure);
  return [
    alignColumns([[...HEADINGS], ...lines]),
    '',
    `Causes that hold exactly one planted key: ${cell(mean((row) => row.oneKey))}; and nothing of another: ${cell(pure)} (goal ${GOAL}).`,
    `Planted keys that some cause holds: ${cell(mean((row) => row.keyRecall))}.`,
    ...(refused.length === 0 ? [] : [`Refused worlds: ${refused.join(', ')}.`]),
  ].join('\n');
}

async function runCauses(options: CausesOptions, context: CliContext): Promise<void> {
  const io = ioOf(context);
  const rows: WorldRow[] = [];
  const refused: number[] = [];
  for (let world = options.seed; rows.length < options.worlds; world++) {
    const row = await runWorld(world, options, io);
    if (row === undefined) refused.push(world);
    else rows.push(row);
  }
  printResult(context, { text: describe(rows, refused), json: { rows, refused } });
}

/** `npm run lab -- causes`. */
export const causes: Experiment = {
  name: 'causes',
  description: 'the causes of successes in small synthetic worlds, against their planted keys',
  define: (command, context) =>
    command
      .option('--worlds <count>', 'admitted worlds', parsePositiveCount, 10)
      .option('--seed <seed>', 'seed of the first world', parseCount, 4001)
      .option('--runs-dir <folder>', 'folder of the runs; a stopped series resumes', 'runs/causes')
      .option('--set <key=value...>', 'config keys of every run', [])
      .addHelpText('after', examples('causes', 'causes --worlds 2 --set evaluation.causes.responses=5'))
      .action((options: CausesOptions) => runCauses(options, context)),
};
