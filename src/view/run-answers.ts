import { chartOf } from '../report/charts/curve-chart.ts';
import { MAIN_CURVES, readLearningCurves } from '../report/figures/learning-curves.ts';
import type { Report, ReportStage } from '../report/figures/report-json.ts';
import { describeRun } from '../report/listed-run.ts';
import { readRun } from '../report/run-overview.ts';
import { inPageOrder, isEvaluationMetric, metricWords } from '../report/words/metric-words.ts';
import { intervalText, numberText, type ReportMeasure, secondsText } from '../report/words/number-words.ts';
import { stageWords } from '../report/words/stage-words.ts';
import { type RunFolder, runStatus } from '../runs/run-folder.ts';
import { hasBegun, openStore, type RunStore } from '../runs/store/run-store.ts';
import { cellNamesOf } from './run-config.ts';
import type { KeptAnswers } from './run-content.ts';
import { workOf } from './run-work.ts';
import type { ViewedRuns } from './viewed-runs.ts';

/** A figure with its words, so that the page and the report write it alike. */
interface FigureAnswer {
  readonly metric: string;
  readonly label: string;
  readonly meaning: string;
  readonly value: number | null;
  readonly text: string;
  readonly interval: string | null;
  readonly n: number;
}

function figureOf(metric: string, measure: ReportMeasure): FigureAnswer {
  const { label, form, meaning } = metricWords(metric);
  const { value, n } = measure;
  return {
    ...{ metric, label, meaning, value, n, text: numberText(value, form) },
    interval: intervalText(measure, form) ?? null,
  };
}

/** The figures of an evaluation; curves show those of the training. */
function figuresOf({ metrics }: ReportStage): FigureAnswer[] {
  return inPageOrder(Object.keys(metrics).filter(isEvaluationMetric)).flatMap((name) => {
    const measure = metrics[name];
    return measure === undefined ? [] : [figureOf(name, measure)];
  });
}

function stageAnswer(stage: ReportStage) {
  const { name, status, judges, cells = [], cost, evaluationCost } = stage;
  return {
    ...{ name, status, label: stageWords(name).label, figures: figuresOf(stage), cost, evaluationCost },
    time: secondsText(cost.seconds + evaluationCost.seconds),
    cells: cells.map(({ asr, ...cell }) => ({ ...cell, asr: figureOf('asr', asr) })),
    judges: judges.flatMap(({ name: judge, role, reported, metrics }) =>
      metrics.asr === undefined ? [] : [{ name: judge, role, reported, asr: figureOf('asr', metrics.asr) }],
    ),
  };
}

/** How far each stage is, evaluations and the like included; also the choices of the filter by stage. */
function progressOf(store: RunStore | undefined) {
  return (store?.stages() ?? []).map(({ name, status, updatesPlanned }) => ({
    ...{ name, status, updatesPlanned, updates: (store?.lastUpdate(name) ?? -1) + 1 },
  }));
}

const runFacts = ({ run }: Report) => ({
  ...{ authorisation: run.authorisation, seed: run.seed, models: run.models },
  ...{ trainingJudge: run.trainingJudge, reportedJudge: run.reportedJudge },
});

/** All runs as `floodgate list` has them, each with its key. */
export async function listAnswer(runs: ViewedRuns, kept: KeptAnswers) {
  const listed = [];
  for (const [key, folder] of await runs.list()) {
    const { asr, ...run } = await kept.of('list', folder, () => describeRun(folder));
    listed.push({ key, ...run, asr: asr === null ? null : figureOf('asr', asr) });
  }
  return { runs: listed };
}

/** One run: its status, how far its stages are, and the figures of its report. Holds no text of a model. */
export function overviewAnswer(folder: RunFolder, kept: KeptAnswers) {
  return kept.of('overview', folder, () => readOverview(folder));
}

async function readOverview(folder: RunFolder) {
  return readRun(folder, async ({ status, manifest, report }, store) => ({
    ...{ name: folder.name, status, createdAt: manifest?.createdAt ?? null },
    facts: report === undefined ? null : runFacts(report),
    judges: [
      ...new Set([...(manifest === undefined ? [] : [manifest.judges.training, ...manifest.judges.evaluation])]),
    ],
    cells: cellNamesOf(folder),
    progress: progressOf(store),
    work: await workOf(folder, status, store),
    stages: report?.stages.map(stageAnswer) ?? [],
  }));
}

/** The learning curves of a run, those that say most first, as charts that the page draws. */
export async function curvesAnswer(folder: RunFolder) {
  if (!hasBegun(folder.databasePath)) return { status: 'created', stages: [] };
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const stages = store.stages().flatMap(({ name }) => {
      const { updates, curves } = readLearningCurves(store, name);
      if (updates < 2 || curves.length === 0) return [];
      const charts = curves.map((curve) => ({
        ...{ metric: curve.metric, isMain: MAIN_CURVES.includes(curve.metric), chart: chartOf(curve, updates) },
      }));
      return [{ name, label: stageWords(name).label, updates, charts }];
    });
    return { status: await runStatus(folder, store), stages };
  } finally {
    store.close();
  }
}
