import { lineChart } from '../charts/line-chart.ts';
import { MAIN_CURVES, type StageCurves } from '../figures/learning-curves.ts';
import { html } from '../words/html.ts';
import { counted } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

function stageFigures({ stage, updates, curves }: StageCurves) {
  const isMain = (metric: string): boolean => MAIN_CURVES.includes(metric);
  const others = curves.filter(({ metric }) => !isMain(metric));
  const { label, meaning } = stageWords(stage);
  return html`<div class="stage-curves"><h3>${label} <span class="quiet">${counted(updates, 'update')}</span></h3><p class="quiet">${meaning}</p>
<div class="charts">${curves.filter(({ metric }) => isMain(metric)).map((curve) => lineChart(curve, updates))}</div>
${others.length === 0 ? '' : html`<details><summary>${counted(others.length, 'more curve')}</summary><div class="charts">${others.map((curve) => lineChart(curve, updates))}</div></details>`}</div>`;
}

/** Learning curves of every stage that learns; undefined when none does. */
export function curvesSection({ curves }: PageContent): PageSection | undefined {
  if (curves.length === 0) return undefined;
  return {
    id: 'learning',
    title: 'How it learnt',
    note: 'One update is one step of training. Faint: each update. Bold: the mean of its neighbours. Dots: measured now and then, on texts that training never used.',
    body: html`${curves.map(stageFigures)}`,
  };
}
