import { maxOf } from '../../base/long-lists.ts';
import { BASE, type Robustness, type RobustnessCell } from '../../studies/robustness/robustness-file.ts';
import { type TransferReport, transferCell } from '../figures/transfer-report.ts';
import { metricWords } from '../words/metric-words.ts';
import type { NumberForm, ReportMeasure } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';

/** One figure of one attacker against one target. */
export interface HeatCell {
  /** Undefined where nothing was measured. */
  readonly measure: ReportMeasure | undefined;
  readonly note?: string;
  /** Words in place of a figure. */
  readonly instead?: string;
}

/** A table whose cells are shaded by their figures: a row an attacker, a column a target. */
export interface HeatGrid {
  readonly what: string;
  readonly judge: string;
  readonly form: NumberForm;
  /** The figure of the darkest shade. */
  readonly most: number;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly attacker: string; readonly cells: readonly HeatCell[] }[];
}

const TRANSFER_METRICS = ['asr', 'uniqueAttacks', 'transferRate', 'exactAsr', 'exactTransferRate'];

function transferGrid(transfer: TransferReport, judge: string, metric: string): HeatGrid {
  const { form, label } = metricWords(metric);
  const { attackers, targets } = transfer;
  const rows = attackers.map((attacker) => ({
    attacker,
    cells: targets.map(({ name }) => {
      const cell = transferCell(transfer, attacker, name);
      const judged = cell?.status === 'done' ? cell.judges.find((each) => each.name === judge) : undefined;
      return { measure: judged?.metrics[metric] };
    }),
  }));
  const values = rows.flatMap(({ cells }) => cells.map(({ measure }) => measure?.value ?? 0));
  const most = form === 'share' ? 1 : maxOf([0, ...values]);
  return { what: label, judge, form, most, columns: targets.map(({ name }) => name), rows };
}

/** A judge's figures of attacks on further targets, a grid each metric that it has. */
export function transferGrids(transfer: TransferReport, judge: string): HeatGrid[] {
  const known = (metric: string): boolean =>
    transfer.cells.some(({ judges }) =>
      judges.some(({ name, metrics }) => name === judge && metrics[metric] !== undefined),
    );
  return TRANSFER_METRICS.filter(known).map((metric) => transferGrid(transfer, judge, metric));
}

/** A version of the target in words. */
export const versionWords = (name: string): string =>
  name === BASE ? 'Untuned' : `Tuned on ${stageWords(name).label}`;

const ROBUSTNESS_WORDS: Readonly<Record<RobustnessCell['how'], string>> = {
  replayed: 'Success rate of the attacks that were found against the untuned target',
  retrained: 'Success rate of retrained attackers, against each version',
};

function robustnessCell(cell: RobustnessCell | undefined, judge: string): HeatCell {
  if (cell?.status === 'nothing-collected') return { measure: undefined, instead: 'found nothing to learn from' };
  const measure = cell?.judges.find(({ name }) => name === judge)?.asr;
  return { measure, ...(cell?.isLearned === true ? { note: 'learned these' } : {}) };
}

/** Success against each version of the target: attacks replayed, then attackers retrained. Grids without rows are left out. */
export function robustnessGrids({ attackers, targets, cells, reportedJudge: judge }: Robustness): HeatGrid[] {
  return (['replayed', 'retrained'] as const).flatMap((how) => {
    const rows = attackers.flatMap((attacker) => {
      const found = targets.map(({ name }) =>
        cells.find((cell) => cell.attacker === attacker && cell.target === name && cell.how === how),
      );
      // An attacker that was not retrained has a figure against the base only.
      if (found.filter((cell) => cell !== undefined).length < (how === 'retrained' ? 2 : 1)) return [];
      return [{ attacker, cells: found.map((cell) => robustnessCell(cell, judge)) }];
    });
    const columns = targets.map(({ name }) => versionWords(name));
    return rows.length === 0 ? [] : [{ what: ROBUSTNESS_WORDS[how], judge, form: 'share', most: 1, columns, rows }];
  });
}
