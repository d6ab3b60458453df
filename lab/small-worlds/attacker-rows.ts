import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../src/runs/store/stage-name.ts';
import type { AttackerName } from '../../src/stages/config/attacker-names.ts';

/** What a run in a made world says of one attacker; the names are those of its metrics. */
export const ROW_FIGURES = ['modeRecall', 'asr', 'shareError', 'uniqueAttacks', 'attackerTargetCalls'] as const;
export type RowFigure = (typeof ROW_FIGURES)[number];

/** null: not measured, never zero. */
export type AttackerRow = Readonly<Record<RowFigure, number | null>>;
/** One run's figures by attacker; one that found nothing has none. */
export type AttackerRows = Readonly<Partial<Record<AttackerName, AttackerRow>>>;

/** The figures of those attackers that the run has measured. */
export async function readAttackerRows(run: RunFolder, attackers: readonly AttackerName[]): Promise<AttackerRows> {
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    return Object.fromEntries(
      attackers.flatMap((attacker) => {
        const metrics = store.metrics(evaluationStage(attacker));
        if (metrics.length === 0) return [];
        const figure = (wanted: RowFigure): number | null =>
          metrics.findLast((row) => row.name === wanted)?.value ?? null;
        return [[attacker, Object.fromEntries(ROW_FIGURES.map((wanted) => [wanted, figure(wanted)]))]];
      }),
    ) as AttackerRows;
  } finally {
    store.close();
  }
}
