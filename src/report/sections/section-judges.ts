import { html } from '../words/html.ts';
import { measureWords } from '../words/measure-words.ts';
import { metricWords } from '../words/metric-words.ts';
import { isEvaluated, stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

/** What each judge said, and how far they agree. */
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
    body: html`${dataTable('The same attacks by every judge.', columns, byJudge)}${agreements.length === 0 ? '' : dataTable('How far two judges say the same. Kappa: 1 full agreement, 0 as much as by chance.', agreeColumns, agreements)}${controlTable}`,
  };
}
