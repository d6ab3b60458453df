import { standardErrorOf } from '../../src/metrics/intervals.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluatedStage } from '../../src/runs/store/stage-name.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { type TunedModel, tuneOnEach } from '../../src/studies/robustness/target-versions.ts';
import { transferRun } from '../../src/studies/transfer/run-transfer.ts';
import type { NamedTarget } from '../../src/studies/transfer/transfer-config.ts';
import type { AttackerName } from '../attackers.ts';
import { UNMET } from './claim-definitions.ts';
import type { GroundTargets } from './grounds/ground.ts';
import { type ByAttacker, type CellFigures, readCells, type SeedResult, type TunedFigures } from './seed-result.ts';

/** Attackers whose stored attacks are put to further and to tuned targets: those that the run has measured. */
async function transferredOf(folder: RunFolder): Promise<AttackerName[]> {
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const measured = new Set(store.stages().map(({ name }) => evaluatedStage(name)));
    return [...UNMET, 'smoothing' as const].filter((name) => measured.has(name));
  } finally {
    store.close();
  }
}

async function cellsOf(
  folder: RunFolder,
  attackers: readonly AttackerName[],
  target: string,
  judge: string,
): Promise<Partial<Record<AttackerName, CellFigures>>> {
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return readCells(store, attackers, target, judge);
  } finally {
    store.close();
  }
}

/** Equal data for every tuned target, so that none resists better for having seen more. */
const SUCCESSES = 256;

/** A run whose stored attacks meet other targets. */
export interface TransferredRun {
  readonly folder: RunFolder;
  readonly targets: GroundTargets;
  /** The judge that counts. */
  readonly judge: string;
}

const at = ({ attacks }: GroundTargets) => (attacks === undefined ? {} : { attacks });

/** The figures of the runs' stored attacks on further targets. */
export async function transferToFurther(
  runs: readonly TransferredRun[],
  io: CampaignIo,
): Promise<NonNullable<SeedResult['transfer']>> {
  const rows: Record<string, NonNullable<SeedResult['transfer']>[string]> = {};
  for (const { folder, targets: of, judge } of runs) {
    const targets = of.further.map((target): NamedTarget => ({ ...target, ...of.asked }) as NamedTarget);
    const attackers = await transferredOf(folder);
    await transferRun(folder, { targets, attackers, again: false, ...at(of) }, io);
    for (const { name } of targets) {
      rows[name] = { ...rows[name], ...(await cellsOf(folder, attackers, name, judge)) };
    }
  }
  return rows;
}

/** Tunes the run's target on the data of these attackers, at most as many successes of each; one without any has no target. */
export async function tuneOn(
  stages: readonly AttackerName[],
  { folder, targets }: TransferredRun,
  io: CampaignIo,
): Promise<TunedModel[]> {
  return tuneOnEach(folder, { stages, successes: SUCCESSES, overrides: targets.tuning, nameOf: (stage) => stage }, io);
}

function tunedRow({ file }: TunedModel, cells: ByAttacker<CellFigures>): TunedFigures {
  const ofEach = (pick: (cell: CellFigures) => number) =>
    Object.fromEntries(Object.entries(cells).map(([attacker, cell]) => [attacker, pick(cell)]));
  const refusals = file.check?.after?.benign.refusals;
  return {
    asr: ofEach(({ asr }) => asr),
    errors: {
      asr: ofEach(({ errors }) => errors?.asr ?? 0),
      ...(refusals === undefined ? {} : { overRefusal: standardErrorOf(refusals) }),
    },
    ...(refusals == null || refusals.value === null ? {} : { overRefusal: refusals.value }),
  };
}

/** Tunes the target on the data of each attacker of the runs, and says what all stored attacks reach on these targets. */
export async function transferToTuned(
  runs: readonly TransferredRun[],
  io: CampaignIo,
): Promise<NonNullable<SeedResult['tuned']>> {
  const models: TunedModel[] = [];
  for (const run of runs) models.push(...(await tuneOn(await transferredOf(run.folder), run, io)));
  const cells = new Map<string, ByAttacker<CellFigures>>();
  for (const { folder, targets: of, judge } of runs) {
    const attackers = await transferredOf(folder);
    const targets = models.map(
      ({ name, modelPath }): NamedTarget => ({
        kind: 'local',
        name: `tuned-${name}`,
        model: modelPath,
        precision: 'fp32',
        device: 'cpu',
        ...of.asked,
      }),
    );
    if (targets.length > 0) await transferRun(folder, { targets, attackers, again: false, ...at(of) }, io);
    for (const { name } of models) {
      cells.set(name, { ...cells.get(name), ...(await cellsOf(folder, attackers, `tuned-${name}`, judge)) });
    }
  }
  return Object.fromEntries(models.map((model) => [model.stage, tunedRow(model, cells.get(model.name) ?? {})]));
}
