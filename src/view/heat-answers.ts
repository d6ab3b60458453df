import { type HeatCell, type HeatGrid, robustnessGrids, transferGrids } from '../report/charts/heat-grids.ts';
import { heatShade } from '../report/charts/measure-marks.ts';
import { readRun } from '../report/run-overview.ts';
import { intervalText, numberText } from '../report/words/number-words.ts';
import { stageWords } from '../report/words/stage-words.ts';
import type { RunFolder } from '../runs/run-folder.ts';

function cellAnswer({ measure, note, instead }: HeatCell, { form, most }: HeatGrid) {
  return {
    text: instead ?? numberText(measure?.value ?? null, form),
    interval: measure === undefined ? null : (intervalText(measure, form) ?? null),
    shade: heatShade(measure, most) ?? null,
    note: note ?? null,
  };
}

function gridAnswer(grid: HeatGrid) {
  const { what, judge, columns } = grid;
  const rows = grid.rows.map(({ attacker, cells }) => ({
    ...{ attacker, label: stageWords(attacker).label },
    cells: cells.map((cell) => cellAnswer(cell, grid)),
  }));
  return { what, judge, columns, rows };
}

/** The heat maps of a run's report: attacks on further targets, and on tuned versions of its own. No text of a model. */
export async function heatAnswer(folder: RunFolder) {
  return readRun(folder, ({ report }) => {
    const { transfer, robustness } = report ?? {};
    return {
      transfer: transfer === undefined ? [] : transferGrids(transfer, report?.run.reportedJudge ?? '').map(gridAnswer),
      robustness: robustness === undefined ? [] : robustnessGrids(robustness).map(gridAnswer),
    };
  });
}
