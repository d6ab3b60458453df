import { mkdir } from 'node:fs/promises';
import { meanOverSeeds, pairedDifference } from '../../src/metrics/intervals.ts';
import type { Measure } from '../../src/metrics/measure.ts';
import type { WantedRun } from '../../src/stages/campaign/run-elsewhere.ts';
import { admittedWorldSeed, isRefusal } from '../../src/stages/campaign/run-world.ts';
import { finishRuns } from '../../src/stages/campaign/whole-runs.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import type { AttackerName } from '../attackers.ts';
import { type AttackerRows, keptRow, ROW_FIGURES, type RowFigure } from '../small-worlds/attacker-rows.ts';
import { smallWorldConfig } from '../small-worlds/small-world.ts';
import { DEFAULT, updatesOf, VARIANTS, type Variant } from './variants.ts';

/** Seeds of synthetic worlds used for nothing else. */
const FIRST_WORLD_SEED = 2000;

const MEASURED: readonly AttackerName[] = ['gflownet', 'smoothing'];

type Measures = Readonly<Record<RowFigure, Measure>>;

/** The figures of one attacker in a variant. */
export interface AblationFigures {
  /** Means over seeds with t intervals. */
  readonly figures: Measures;
  /** The variant minus the default, paired over seeds; absent for the default itself. */
  readonly gain?: Measures;
}

/** The figures of one variant. */
export interface AblationResult {
  readonly group: string;
  readonly name: string;
  readonly attackers: Readonly<Partial<Record<AttackerName, AblationFigures>>>;
}

export interface AblationPlan {
  readonly seeds: number;
  readonly groups: readonly string[] | undefined;
  readonly folder: string;
  /** Redis, whose workers do the runs; absent: this process does. */
  readonly queue?: string;
}

function configOf(variant: Variant, seed: number, worldSeed: number, more: readonly string[] = []): Config {
  return smallWorldConfig({
    purpose: `ablation ${variant.name}`,
    seed,
    worldSeed,
    attackers: MEASURED,
    overrides: [`gflownet.updates=${updatesOf(variant)}`, ...variant.overrides, ...more],
  });
}

/**
 * Runs every ablation in small synthetic worlds at equal target calls, seed by seed, and returns one row per variant.
 * Finished runs are kept, so a stopped series resumes. With a queue, workers do all runs at once.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runAblations(plan: AblationPlan, io: CampaignIo): Promise<AblationResult[]> {
  await mkdir(plan.folder, { recursive: true });
  const variants = VARIANTS.filter(
    ({ name, group }) => name === DEFAULT.name || (plan.groups?.includes(group) ?? true),
  );
  const worlds: number[] = [];
  for (let seed = 0; seed < plan.seeds; seed++)
    worlds.push(await admittedWorldSeed(FIRST_WORLD_SEED + seed, (each) => configOf(DEFAULT, seed, each), io));
  if (plan.queue !== undefined) await runOnWorkers(plan, plan.queue, { variants, worlds }, io);
  const rows = new Map<string, AttackerRows[]>(variants.map(({ name }) => [name, []]));
  const bar = io.progress.start('ablations', plan.seeds * variants.length, 'runs');
  let done = 0;
  for (const [seed, worldSeed] of worlds.entries()) {
    for (const variant of variants) {
      const config = configOf(variant, seed, worldSeed);
      const run = { name: `${variant.name}-${seed}`, config, attackers: MEASURED, folder: plan.folder };
      rows.get(variant.name)?.push(await keptRow(run, io));
      bar.update(++done);
    }
  }
  bar.finish();
  const defaults = rows.get(DEFAULT.name) ?? [];
  return variants.map(({ group, name }) => ({
    group,
    name,
    attackers: summarise(name, rows.get(name) ?? [], defaults),
  }));
}

/** Every run of the sweep that is not there yet. A variant whose world is refused has no figures. */
async function runOnWorkers(
  { folder }: AblationPlan,
  url: string,
  { variants, worlds }: { readonly variants: readonly Variant[]; readonly worlds: readonly number[] },
  io: CampaignIo,
): Promise<void> {
  const queue = [`queue.url=${url}`, 'queue.runs=true'];
  const runs = worlds.flatMap((worldSeed, seed) =>
    variants.map((variant): WantedRun => {
      const name = `${variant.name}-${seed}`;
      return { config: configOf(variant, seed, worldSeed, queue), runsFolder: folder, name, note: name };
    }),
  );
  await finishRuns({ label: 'ablations on workers', unit: 'runs', runs, idFolder: folder, leavesOut: isRefusal }, io);
}

function measures(of: (figure: RowFigure) => Measure): Measures {
  return Object.fromEntries(ROW_FIGURES.map((figure) => [figure, of(figure)])) as Measures;
}

/** Each attacker's figures over the seeds in which it was measured, in this variant and in the default. */
export function summarise(
  name: string,
  seeds: readonly AttackerRows[],
  defaults: readonly AttackerRows[],
): AblationResult['attackers'] {
  const summaries = MEASURED.flatMap((attacker): [AttackerName, AblationFigures][] => {
    const pairs = seeds.flatMap((row, seed) => {
      const [mine, base] = [row[attacker], defaults[seed]?.[attacker]];
      return mine === undefined || base === undefined ? [] : [{ mine, base }];
    });
    if (pairs.length === 0) return [];
    const known = (figure: RowFigure) =>
      pairs.flatMap((pair) => {
        const [mine, base] = [pair.mine[figure], pair.base[figure]];
        return mine === null || base === null ? [] : [{ mine, base }];
      });
    const valuesOf = (whose: 'mine' | 'base', figure: RowFigure) => known(figure).map((pair) => pair[whose]);
    const figures = measures((figure) => meanOverSeeds(valuesOf('mine', figure)));
    const gain = measures((figure) => pairedDifference(valuesOf('mine', figure), valuesOf('base', figure)));
    return [[attacker, name === DEFAULT.name ? { figures } : { figures, gain }]];
  });
  return Object.fromEntries(summaries);
}
