import { maxOf } from '../../base/long-lists.ts';
import { intervalBar, intervalWords, measureWords } from '../charts/measure-marks.ts';
import type { ReportStage } from '../figures/report-json.ts';
import { type Html, html } from '../words/html.ts';
import { inPageOrder, metricWords } from '../words/metric-words.ts';
import { numberText, type ReportMeasure, UNKNOWN } from '../words/number-words.ts';
import { isEvaluated, stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

function valueCell(measure: ReportMeasure | undefined, name: string, most: number): Html | string {
  if (measure === undefined || measure.value === null) return UNKNOWN;
  const { form } = metricWords(name);
  return html`<span class="value">${numberText(measure.value, form)}</span>${intervalWords(measure, form)}${intervalBar(measure, most)}`;
}

/** The end of a metric's scale: 1 for shares, else the end of the largest interval. */
function scaleEnd(stages: readonly ReportStage[], name: string): number {
  if (metricWords(name).form === 'share') return 1;
  return maxOf(stages.map(({ metrics }) => Math.max(metrics[name]?.high ?? 0, metrics[name]?.value ?? 0)));
}

/** Columns that fit side by side; more of them make a second table. */
const MAX_COLUMNS = 5;

function mainTables(stages: readonly ReportStage[], names: readonly string[]): Html[] {
  const parts = Math.ceil(names.length / MAX_COLUMNS);
  const size = Math.ceil(names.length / Math.max(1, parts));
  return Array.from({ length: parts }, (_, i) => mainTable(stages, names.slice(i * size, (i + 1) * size)));
}

function mainTable(stages: readonly ReportStage[], names: readonly string[]): Html {
  const columns = [
    { heading: 'Attacker' },
    ...names.map((name) => ({ heading: metricWords(name).label, isNumber: true })),
  ];
  const rows = stages.map(({ name: stage, metrics }) => [
    html`${stageWords(stage).label}<span class="quiet">${stage}</span>`,
    ...names.map((name) => valueCell(metrics[name], name, scaleEnd(stages, name))),
  ]);
  return dataTable('Each attacker, measured on new attacks of its own. Lines are 95% intervals.', columns, rows);
}

function everyFigure(stages: readonly ReportStage[], names: readonly string[]): Html {
  const rows = names.map((name) => {
    const { label, meaning } = metricWords(name);
    const methods = new Set(stages.flatMap(({ metrics }) => metrics[name]?.method ?? []));
    return [
      html`${label}<span class="quiet">${meaning}</span>`,
      ...stages.map(({ metrics }) => measureWords(metrics[name], name)),
      html`<span class="quiet">${[...methods].join('; ')}</span>`,
    ];
  });
  const columns = [
    { heading: 'Figure' },
    ...stages.map(({ name }) => ({ heading: stageWords(name).label, isNumber: true })),
    { heading: 'How it was made' },
  ];
  return html`<details><summary>Every figure, with what it means</summary><div class="wide" role="region" aria-label="Every figure" tabindex="0">${dataTable('Every figure of every attacker.', columns, rows)}</div></details>`;
}

/** Attackers side by side. */
export function comparisonSection({ report, evaluationMetrics }: PageContent): PageSection | undefined {
  // The figures of causes are among those of the evaluation that they explain.
  const stages = report.stages
    .filter(isEvaluated)
    .map((stage) => ({ ...stage, metrics: { ...stage.metrics, ...stage.causes?.metrics } }));
  if (stages.length === 0) return undefined;
  const measured = stages.flatMap(({ metrics, causes }) =>
    Object.keys(metrics).filter((name) => evaluationMetrics.has(name) || causes?.metrics[name] !== undefined),
  );
  const names = inPageOrder(new Set(measured));
  const main = names.filter((name) => metricWords(name).isMain === true);
  return {
    id: 'comparison',
    title: 'Attackers compared',
    note: `Figures by the judge ${report.run.reportedJudge}. Where two intervals overlap widely, the difference may be chance.`,
    body: html`${mainTables(stages, main)}${everyFigure(stages, names)}`,
  };
}

/** Rates as judges call the answers, and corrected for their errors; empty where no errors are known. */
function correctedTable(stages: readonly ReportStage[]): Html | '' {
  const rows = stages.flatMap(({ name, judges }) =>
    judges.flatMap(({ name: judge, corrected: rate, metrics }) => {
      if (rate === undefined) return [];
      const { raw, corrected, correctedAsr, sensitivity, specificity, isPlausible } = rate;
      return [
        [
          stageWords(name).label,
          judge,
          measureWords(raw, 'asr'),
          isPlausible ? measureWords(corrected, 'asr') : 'the errors cannot explain the share',
          measureWords(metrics.asr, 'asr'),
          isPlausible ? measureWords(correctedAsr, 'asr') : 'not known',
          `${sensitivity.hits} of ${sensitivity.n} unsafe, ${specificity.hits} of ${specificity.n} safe`,
        ],
      ];
    }),
  );
  if (rows.length === 0) return '';
  const columns = [
    { heading: 'Attacker' },
    { heading: 'Judge' },
    { heading: 'Answers called unsafe', isNumber: true },
    { heading: 'Unsafe answers, corrected', isNumber: true },
    { heading: 'Success rate of attacks', isNumber: true },
    { heading: 'Success rate, corrected', isNumber: true },
    { heading: 'Labelled examples that it calls right' },
  ];
  return dataTable(
    'The share of unsafe answers, and the success rate of attacks, corrected for the errors of the judge on labelled examples (Rogan and Gladen 1978). Corrected, an attack succeeds when more than half of its answers are unsafe. Both hold where the examples resemble the answers of this run; the success rate of attacks with several answers also where the judge errs on each of them independently.',
    columns,
    rows,
  );
}

/** The figures of each judge, and how far the judges agree. */
export function judgesSection({ report }: PageContent): PageSection | undefined {
  const stages = report.stages.filter(isEvaluated);
  if (stages.length === 0) return undefined;
  const shown = ['asr', 'asrMasked', 'uniqueAttacks'];
  const byJudge = stages.flatMap(({ name, judges }) =>
    judges.map((judge) => [
      stageWords(name).label,
      html`${judge.name}${judge.reported ? html` <span class="badge">counts</span>` : ''}`,
      judge.role,
      ...shown.map((metric) => measureWords(judge.metrics[metric], metric)),
    ]),
  );
  const agreement = stages.filter(({ metrics }) => typeof metrics.judgeAgreement?.value === 'number');
  const agreements = agreement.map(({ name, metrics }) => [
    stageWords(name).label,
    measureWords(metrics.judgeAgreement, 'judgeAgreement'),
    measureWords(metrics.judgeKappa, 'judgeKappa'),
  ]);
  const columns = [
    { heading: 'Attacker' },
    { heading: 'Judge' },
    { heading: 'Part it played' },
    ...shown.map((metric) => ({ heading: metricWords(metric).label, isNumber: true })),
  ];
  const agreeColumns = [
    { heading: 'Attacker' },
    { heading: 'Judges agree', isNumber: true },
    { heading: 'Beyond chance (kappa)', isNumber: true },
  ];
  const controls = (report.controls?.judges ?? []).map(({ name, asr }) => [name, measureWords(asr, 'controlAsr')]);
  const controlColumns = [{ heading: 'Judge' }, { heading: metricWords('controlAsr').label, isNumber: true }];
  const controlTable =
    report.controls === undefined
      ? ''
      : dataTable(
          `What each judge made of the target's answers to ${report.controls.prompts} harmless prompts, asked before anything was trained: false alarms, which its success rates hold too.`,
          controlColumns,
          controls,
        );
  return {
    id: 'judges',
    title: 'Judges',
    note: 'A judge that took part in training can be fooled by what training found. The one that counts is one that did not, where there is one.',
    body: html`${dataTable('The same attacks by every judge.', columns, byJudge)}${agreements.length === 0 ? '' : dataTable('How far two judges say the same. Kappa: 1 full agreement, 0 as much as by chance.', agreeColumns, agreements)}${correctedTable(stages)}${controlTable}`,
  };
}
