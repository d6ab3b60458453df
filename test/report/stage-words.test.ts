import { afterEach, expect, test } from 'vitest';
import { renderReportPage } from '../../src/report/report-page.ts';
import { headlineStage, stageWords } from '../../src/report/words/stage-words.ts';
import { defineStage, stages } from '../../src/stages/registry.ts';
import { fixtureRun } from './fixture-run.ts';

type Source = Awaited<ReturnType<typeof fixtureRun>>;
let source: Source | undefined;
afterEach(() => source?.store.close());

async function runOf(...names: string[]): Promise<Source> {
  source = await fixtureRun({ stages: names });
  return source;
}

test('a stage has the words of its definition, and an unknown one its own name', () => {
  for (const { name, words } of stages.all()) expect(stageWords(name)).toEqual(words);
  expect(stageWords('of-another-version')).toEqual({ label: 'of-another-version', explain: '' });
});

test('the page shows a stage of a user with its label, its explanation and how it learned', async () => {
  defineStage({
    name: 'echo-attacker',
    needs: [],
    sections: [],
    words: { label: 'Echo', explain: 'Repeats <its> examples.', learning: 'by heart' },
    knowsTarget: 'no',
    hasDensity: false,
  });
  const { markup } = renderReportPage(await runOf('sft', 'echo-attacker'), { withTexts: false });
  expect(markup).toContain('draw unsafe answers: by heart. ');
  expect(markup).toContain(
    '<h3>Echo <span class="quiet">30 updates</span></h3><p class="quiet">Repeats &lt;its&gt; examples.</p>',
  );
  expect(markup).toContain('Echo<span class="quiet">echo-attacker</span>');
});

test.each([
  [['sft', 'gflownet', 'smoothing', 'ppo'], 'smoothing'],
  [['gflownet', 'ppo'], 'gflownet'],
  [['sft', 'ppo', 'exact'], 'ppo'],
  [['exact'], 'exact'],
])('of %j the first screen shows %s', async (names, expected) => {
  expect(headlineStage((await runOf(...names)).report)?.name).toBe(expected);
});
