import type { Robustness, TargetVersion } from '../../studies/robustness/robustness-file.ts';
import { robustnessGrids, versionWords } from '../charts/heat-grids.ts';
import { intervalWords } from '../charts/measure-marks.ts';
import { type Html, html } from '../words/html.ts';
import { numberText, type ReportMeasure, UNKNOWN } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import { heatMap } from './heat-map.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

function share(measure: ReportMeasure | undefined): Html | string {
  if (measure === undefined || measure.value === null) return UNKNOWN;
  return html`${numberText(measure.value, 'share')}${intervalWords(measure, 'share')}`;
}

/** The change in nats a token; empty for the base itself. */
function changeWords(change: ReportMeasure | null): Html | string {
  if (change === null || change.value === null) return '';
  return html`${numberText(change.value, 'number')}${intervalWords(change, 'number')}`;
}

function usefulRow({ name, overRefusal, utility, successes, warnings }: TargetVersion): (Html | string)[] {
  const use: (Html | string)[] =
    utility.kind === 'dialogue'
      ? [numberText(utility.perplexity.value, 'number'), changeWords(utility.change)]
      : [share(utility.alarmError), share(utility.polite)];
  return [
    versionWords(name),
    successes === null ? '' : numberText(successes, 'count'),
    share(overRefusal?.benign),
    share(overRefusal?.borderline),
    ...use,
    warnings.join('; '),
  ];
}

function usefulness({ targets }: Robustness): Html {
  const isExact = targets.some(({ utility }) => utility.kind === 'exact');
  const columns = [
    { heading: 'Target' },
    { heading: 'Tuned on attacks', isNumber: true },
    { heading: 'Refuses benign', isNumber: true },
    { heading: 'Refuses borderline', isNumber: true },
    ...(isExact
      ? [
          { heading: 'False alarms', isNumber: true },
          { heading: 'Polite answers', isNumber: true },
        ]
      : [
          { heading: 'Perplexity', isNumber: true },
          { heading: 'Change, nats a token', isNumber: true },
        ]),
    { heading: 'Notes' },
  ];
  const caption = 'Needless refusals and remaining use of each version, on harmless requests.';
  return html`<div class="wide" role="region" aria-label="${caption}" tabindex="0">${dataTable(caption, columns, targets.map(usefulRow))}</div>`;
}

/** Success against targets that were tuned to refuse; undefined where that was not measured. */
export function robustnessSection({ report }: PageContent): PageSection | undefined {
  const { robustness } = report;
  if (robustness === undefined || robustness.targets.length === 0) return undefined;
  const { leftOut, status } = robustness;
  const left = leftOut.map(
    ({ data, tried }) =>
      html`<p>No target was tuned on ${stageWords(data).label}: none of its ${tried} attacks succeeded.</p>`,
  );
  return {
    id: 'robustness',
    title: 'Does tuning help?',
    note: html`The target was tuned to refuse each attacker’s successes, then attacked again. A version that refuses everything looks safe: read both tables.${status === 'running' ? ' Some cells are still missing.' : ''}`,
    body: html`${robustnessGrids(robustness).map(heatMap)}${usefulness(robustness)}${left}`,
  };
}
