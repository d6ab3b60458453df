import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { meanOverSeeds, pairedDifference } from '../../metrics/intervals.ts';
import type { Measure } from '../../metrics/measure.ts';
import { openStore } from '../../store/run-store.ts';
import { evaluationStage } from '../../store/stage-name.ts';
import type { AttackerName } from '../attackers/attacker-names.ts';
import type { CampaignIo } from '../campaign-io.ts';
import { parseConfig } from '../config-load.ts';
import type { Config } from '../config-schema.ts';
import { resumeRun, startRun } from '../run-campaign.ts';
import { openRunFolder } from '../run-folder.ts';
import { admittedWorldSeed, isRefusal } from '../run-world.ts';
import { DEFAULT, updatesOf, VARIANTS, type Variant } from './variants.ts';

/** Seeds of made worlds that are used for nothing else. */
const FIRST_WORLD_SEED = 2000;

const MEASURED: readonly AttackerName[] = ['gflownet', 'smoothing'];
const FIGURES = ['modeRecall', 'asr', 'shareError', 'uniqueAttacks', 'attackerTargetCalls'] as const;
export type AblationFigure = (typeof FIGURES)[number];

/** null: not measured, never zero. */
type Row = Readonly<Record<AblationFigure, number | null>>;
/** One seed's figures by attacker; one that found nothing has none. */
export type SeedRows = Readonly<Partial<Record<AttackerName, Row>>>;

type Measures = Readonly<Record<AblationFigure, Measure>>;

/** What one attacker of a variant reached. */
export interface AblationFigures {
  /** Means over seeds with t intervals. */
  readonly figures: Measures;
  /** The variant minus the default, paired over seeds; absent for the default itself. */
  readonly gain?: Measures;
}

/** What one variant reached. */
export interface AblationResult {
  readonly group: string;
  readonly name: string;
  readonly attackers: Readonly<Partial<Record<AttackerName, AblationFigures>>>;
}

function configOf(variant: Variant, seed: number, worldSeed: number): Config {
  return parseConfig('world: { keys: 24 }\nattackers: [gflownet, smoothing]\nsmoothing: { updates: 300 }\n', {
    fileName: `of ablation ${variant.name}`,
    folder: process.cwd(),
    overrides: [
      `seed=${seed}`,
      `world.seed=${worldSeed}`,
      'gflownet.replay.seedWithReference=2048',
      `gflownet.updates=${updatesOf(variant)}`,
      ...variant.overrides,
    ],
  });
}

async function runVariant(config: Config, name: string, folder: string, io: CampaignIo): Promise<SeedRows> {
  const run = existsSync(join(folder, name))
    ? await resumeRun(await openRunFolder(name, folder), io)
    : await startRun({ config, runsFolder: folder, name, ifTaken: 'refuse' }, io);
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    return Object.fromEntries(
      MEASURED.flatMap((attacker) => {
        const metrics = store.metrics(evaluationStage(attacker));
        if (metrics.length === 0) return [];
        const figure = (wanted: AblationFigure): number | null =>
          metrics.findLast((row) => row.name === wanted)?.value ?? null;
        return [[attacker, Object.fromEntries(FIGURES.map((wanted) => [wanted, figure(wanted)]))]];
      }),
    ) as SeedRows;
  } finally {
    store.close();
  }
}

/** A variant that changes the world itself may get one that is refused: that seed has no row of it. */
async function rowOf(
  variant: Variant,
  { seed, worldSeed, folder }: { readonly seed: number; readonly worldSeed: number; readonly folder: string },
  io: CampaignIo,
): Promise<SeedRows> {
  try {
    return await runVariant(configOf(variant, seed, worldSeed), `${variant.name}-${seed}`, folder, io);
  } catch (error) {
    if (isRefusal(error)) return {};
    throw error;
  }
}

/**
 * Runs every ablation in small made worlds at equal target calls, seed by seed, and returns a row a variant. What is
 * there already is kept, so that a run that was stopped goes on.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runAblations(
  plan: { readonly seeds: number; readonly groups: readonly string[] | undefined; readonly folder: string },
  io: CampaignIo,
): Promise<AblationResult[]> {
  await mkdir(plan.folder, { recursive: true });
  const variants = VARIANTS.filter(
    ({ name, group }) => name === DEFAULT.name || (plan.groups?.includes(group) ?? true),
  );
  const rows = new Map<string, SeedRows[]>(variants.map(({ name }) => [name, []]));
  const bar = io.progress.start('ablations', plan.seeds * variants.length, 'runs');
  let done = 0;
  for (let seed = 0; seed < plan.seeds; seed++) {
    const worldSeed = await admittedWorldSeed(FIRST_WORLD_SEED + seed, (each) => configOf(DEFAULT, seed, each), io);
    for (const variant of variants) {
      const file = join(plan.folder, `${variant.name}-${seed}.json`);
      if (!existsSync(file)) {
        if (io.signal.aborted) throw new FloodgateError('interrupted', `ablations: interrupted at ${variant.name}`);
        const row = await rowOf(variant, { seed, worldSeed, folder: plan.folder }, io);
        await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(row)}\n`));
      }
      rows.get(variant.name)?.push(JSON.parse(await readFile(file, 'utf8')) as SeedRows);
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

function measures(of: (figure: AblationFigure) => Measure): Measures {
  return Object.fromEntries(FIGURES.map((figure) => [figure, of(figure)])) as Measures;
}

/** Each attacker's figures over the seeds in which it was measured, in this variant and in the default. */
export function summarise(
  name: string,
  seeds: readonly SeedRows[],
  defaults: readonly SeedRows[],
): AblationResult['attackers'] {
  const summaries = MEASURED.flatMap((attacker): [AttackerName, AblationFigures][] => {
    const pairs = seeds.flatMap((row, seed) => {
      const [mine, base] = [row[attacker], defaults[seed]?.[attacker]];
      return mine === undefined || base === undefined ? [] : [{ mine, base }];
    });
    if (pairs.length === 0) return [];
    const known = (figure: AblationFigure) =>
      pairs.flatMap((pair) => {
        const [mine, base] = [pair.mine[figure], pair.base[figure]];
        return mine === null || base === null ? [] : [{ mine, base }];
      });
    const valuesOf = (whose: 'mine' | 'base', figure: AblationFigure) => known(figure).map((pair) => pair[whose]);
    const figures = measures((figure) => meanOverSeeds(valuesOf('mine', figure)));
    const gain = measures((figure) => pairedDifference(valuesOf('mine', figure), valuesOf('base', figure)));
    return [[attacker, name === DEFAULT.name ? { figures } : { figures, gain }]];
  });
  return Object.fromEntries(summaries);
}
