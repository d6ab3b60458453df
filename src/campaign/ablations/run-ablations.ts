import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { meanOverSeeds } from '../../metrics/intervals.ts';
import type { Measure } from '../../metrics/measure.ts';
import { openStore } from '../../store/run-store.ts';
import { evaluationStage } from '../../store/stage-name.ts';
import type { AttackerName } from '../attackers/attacker-names.ts';
import type { CampaignIo } from '../campaign-io.ts';
import { parseConfig } from '../config-load.ts';
import { resumeRun, startRun } from '../run-campaign.ts';
import { openRunFolder } from '../run-folder.ts';
import { updatesOf, VARIANTS, type Variant } from './variants.ts';

/** Seeds of made worlds that are used for nothing else. */
const FIRST_WORLD_SEED = 2000;

const MEASURED: readonly AttackerName[] = ['gflownet', 'smoothing'];
const FIGURES = ['modeRecall', 'asr', 'shareError', 'uniqueAttacks', 'attackerTargetCalls'] as const;
export type AblationFigure = (typeof FIGURES)[number];

type Row = Readonly<Record<AblationFigure, number>>;
type SeedRows = Readonly<Partial<Record<AttackerName, Row>>>;

/** What one variant reached, as means over seeds with t intervals. */
export interface AblationResult {
  readonly group: string;
  readonly name: string;
  readonly attackers: Readonly<Partial<Record<AttackerName, Readonly<Record<AblationFigure, Measure>>>>>;
}

async function runVariant(variant: Variant, seed: number, folder: string, io: CampaignIo): Promise<SeedRows> {
  const name = `${variant.name}-${seed}`;
  const config = parseConfig('world: { keys: 24 }\nattackers: [gflownet, smoothing]\nsmoothing: { updates: 300 }\n', {
    fileName: `of ablation ${variant.name}`,
    folder: process.cwd(),
    overrides: [
      `seed=${seed}`,
      `world.seed=${FIRST_WORLD_SEED + seed}`,
      'gflownet.replay.seedWithReference=2048',
      `gflownet.updates=${updatesOf(variant)}`,
      ...variant.overrides,
    ],
  });
  const run = existsSync(join(folder, name))
    ? await resumeRun(await openRunFolder(name, folder), io)
    : await startRun({ config, runsFolder: folder, name, ifTaken: 'refuse' }, io);
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    return Object.fromEntries(
      MEASURED.flatMap((attacker) => {
        const metrics = store.metrics(evaluationStage(attacker));
        if (metrics.length === 0) return [];
        const figure = (wanted: AblationFigure): number => metrics.findLast((row) => row.name === wanted)?.value ?? 0;
        return [[attacker, Object.fromEntries(FIGURES.map((wanted) => [wanted, figure(wanted)]))]];
      }),
    ) as SeedRows;
  } finally {
    store.close();
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
  const variants = VARIANTS.filter(({ group }) => group === 'default' || (plan.groups?.includes(group) ?? true));
  const rows = new Map<string, SeedRows[]>(variants.map(({ name }) => [name, []]));
  const bar = io.progress.start('ablations', plan.seeds * variants.length, 'runs');
  let done = 0;
  for (let seed = 0; seed < plan.seeds; seed++) {
    for (const variant of variants) {
      const file = join(plan.folder, `${variant.name}-${seed}.json`);
      if (!existsSync(file)) {
        if (io.signal.aborted) throw new FloodgateError('interrupted', `ablations: interrupted at ${variant.name}`);
        const row = await runVariant(variant, seed, plan.folder, io);
        await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(row)}\n`));
      }
      rows.get(variant.name)?.push(JSON.parse(await readFile(file, 'utf8')) as SeedRows);
      bar.update(++done);
    }
  }
  bar.finish();
  return variants.map((variant) => summarise(variant, rows.get(variant.name) ?? []));
}

function summarise({ group, name }: Variant, seeds: readonly SeedRows[]): AblationResult {
  const attackers = MEASURED.flatMap((attacker) => {
    const measured = seeds.flatMap((row) => row[attacker] ?? []);
    if (measured.length === 0) return [];
    return [
      [
        attacker,
        Object.fromEntries(FIGURES.map((figure) => [figure, meanOverSeeds(measured.map((row) => row[figure]))])),
      ],
    ];
  });
  return { group, name, attackers: Object.fromEntries(attackers) as AblationResult['attackers'] };
}
