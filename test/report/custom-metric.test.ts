import { expect, test } from 'vitest';
import { intervalMeasure } from '../../src/metrics/measure.ts';
import { attackMetrics, defineMetric } from '../../src/metrics/registry.ts';
import { renderReportPage } from '../../src/report/report-page.ts';
import { inPageOrder, metricWords } from '../../src/report/words/metric-words.ts';
import { fixtureRun } from './fixture-run.ts';

const measured = intervalMeasure({ value: 41.6, low: 31.2, high: 51.4, n: 40, method: 'mean', confidence: 0.95 });

defineMetric({
  name: 'meanLength',
  words: { label: 'Mean length', explain: 'Characters of an attack, on average.', form: 'count', isMain: true },
  measure: () => measured,
});

test('registered metrics are shown with the words of their definitions', () => {
  for (const { name, words } of attackMetrics.all()) {
    const { label, explain, form = 'number', isMain = false } = words;
    expect(metricWords(name)).toEqual({ label, meaning: explain, form, isMain });
  }
  expect(metricWords('policyEntropy')).toEqual({ label: 'Policy entropy', meaning: '', form: 'number' });
  expect(inPageOrder(['meanLength', 'vocabulary', 'asr'])).toEqual(['asr', 'vocabulary', 'meanLength']);
});

test('the report compares attackers by a metric of a user, as by any other', async () => {
  const source = await fixtureRun({ metrics: [{ name: 'meanLength', judge: 'other', ...measured }] });
  const { markup } = renderReportPage(source, { withTexts: false });
  source.store.close();
  const [main = '', fold = ''] = markup.slice(markup.indexOf('id="comparison"')).split('<details>');
  expect(main).toContain('Mean length</th>');
  expect(main).toContain('<span class="value">42</span>');
  expect(fold).toContain('Characters of an attack, on average.');
});
