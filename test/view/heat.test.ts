import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import { pointMeasure } from '../../src/metrics/measure.ts';
import { buildReport } from '../../src/report/figures/report-json.ts';
import { renderReportPage } from '../../src/report/report-page.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { transferStage } from '../../src/runs/store/stage-name.ts';
import type { StoreWriter } from '../../src/runs/store/writer.ts';
import {
  BASE,
  type Robustness,
  type RobustnessCell,
  recordRobustness,
} from '../../src/studies/robustness/robustness-file.ts';
import { recordTarget } from '../../src/studies/transfer/target-record.ts';
import { NO_MODEL_FACTS } from '../../src/targets/target-kind.ts';
import { fixtureAttacks, fixtureRun } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { openPage, violations } from './opened-page.ts';
import { makeRun, type StartedView, startView } from './viewed.ts';

/** Names of targets are words of a config: text, never markup. */
const MARKUP = '<img src=x onerror="window.ran = true">';

function addTransfer(store: StoreWriter): void {
  for (const [name, successes] of [
    ['strong', 4],
    [MARKUP, 40],
    ['stopped', undefined],
  ] as const) {
    const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 };
    recordTarget(store, { ...NO_MODEL_FACTS, kind: 'scripted', model: 'other', name, decode, responses: 1 });
    const stage = transferStage({ attacker: 'gflownet', target: name });
    store.beginStage(stage, 1);
    if (successes === undefined) continue;
    const asr = (judge: string, hits: number) => ({ name: 'asr', judge, ...wilsonInterval(hits, 40) });
    store.recordUpdate({ stage, update: 0, metrics: [asr('other', successes), asr('trainer', 1)] });
    store.endStage(stage, 'done');
  }
}

const cell = (target: string, how: RobustnessCell['how'], successes: number, isLearned = false): RobustnessCell => ({
  ...{ attacker: 'gflownet', target, how, status: 'done', isLearned },
  judges: [{ name: 'other', asr: wilsonInterval(successes, 40), uniqueAttacks: pointMeasure(1, 40, 'count') }],
});
const version = (name: string): Robustness['targets'][number] => ({
  ...{ name, sha256: 'ab', model: 'toy', successes: null, overRefusal: null, warnings: [] },
  utility: { kind: 'exact', alarmError: pointMeasure(0, 1, 'x'), polite: pointMeasure(1, 1, 'x') },
});
const ROBUSTNESS: Robustness = {
  ...{ robustnessVersion: 1, run: 'heat', status: 'done', reportedJudge: 'other', successes: 64 },
  ...{ attackers: ['sft', 'gflownet'], retrained: ['gflownet'], leftOut: [] },
  targets: [version(BASE), version('gflownet')],
  cells: [
    cell(BASE, 'replayed', 20),
    cell('gflownet', 'replayed', 2, true),
    { ...cell(BASE, 'retrained', 20), status: 'nothing-collected', judges: [] },
    cell('gflownet', 'retrained', 10),
  ],
};

async function addHeat(path: string): Promise<void> {
  const store = await openStore(path);
  addTransfer(store);
  recordRobustness(store, ROBUSTNESS);
  store.close();
}

/** Few rows of attacks: axe reads each of them. */
const FEW = { stages: ['gflownet'], attacks: fixtureAttacks(5) };

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await makeRun(parent, 'plain');
    await addHeat(join(await makeRun(parent, 'heat', FEW), 'run.db'));
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

interface Grid {
  readonly what: string;
  readonly judge: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly label: string; readonly cells: readonly object[] }[];
}
const heat = (run: string) =>
  started.get<{ transfer: readonly Grid[]; robustness: readonly Grid[] }>(`/api/runs/${run}/heat`);

describe('heat maps', () => {
  it('hold the figures of the report with their intervals; the shade is the figure in tenths', async () => {
    const { transfer, robustness } = await heat('heat');
    expect(transfer).toMatchObject([{ what: 'Success rate', judge: 'other' }]);
    const shown = new Map(transfer[0]?.columns.map((name, i) => [name, transfer[0]?.rows[0]?.cells[i]]));
    expect(shown.get('strong')).toEqual({ text: '10%', interval: '4.0–23%', shade: 1, note: null });
    expect(shown.get(MARKUP)).toEqual({ text: '100%', interval: '91–100%', shade: 10, note: null });
    expect(shown.get('stopped')).toEqual({ text: '–', interval: null, shade: null, note: null });
    expect(robustness.map(({ columns }) => columns)).toEqual([
      ['Untuned', 'Tuned on GFlowNet'],
      ['Untuned', 'Tuned on GFlowNet'],
    ]);
    expect(robustness.map(({ rows }) => rows.map(({ label }) => label))).toEqual([['GFlowNet'], ['GFlowNet']]);
    expect(robustness[0]?.rows[0]?.cells).toMatchObject([
      { text: '50%', shade: 5, note: null },
      { text: '5.0%', shade: 1, note: 'learned these' },
    ]);
    expect(robustness[1]?.rows[0]?.cells[0]).toEqual({
      ...{ text: 'found nothing to learn from', interval: null, shade: null, note: null },
    });
    expect(await heat('plain')).toEqual({ transfer: [], robustness: [] });
  });

  it('are those of the report page', async () => {
    const source = await fixtureRun();
    addTransfer(source.store);
    recordRobustness(source.store, ROBUSTNESS);
    const report = buildReport({ store: source.store, manifest: source.manifest, status: 'done' });
    const { markup } = renderReportPage({ ...source, report }, { withTexts: true });
    source.store.close();
    const section = markup.slice(markup.indexOf('<section id="robustness"'));
    expect(section).toContain('heat-5"><span class="value">50%');
    expect(section).toMatch(/heat-1"><span class="value">5\.0%.{0,80}<span class="quiet">learned these/);
    expect(section).toContain('<span class="quiet">found nothing to learn from</span>');
    expect(section).toContain('Tuned on GFlowNet');
  });
});

describe.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)('on a %s', (name, options) => {
  it('a run shows its heat maps with the number in each cell, and axe finds nothing', async () => {
    const { page, complaints } = await openPage(browser, started, options, '#/run/heat');
    await page.getByText(/^Page 1: 5 attacks/).waitFor();
    const region = page.getByRole('region', { name: 'Success rate by other' });
    await region.waitFor(); // it comes after the page
    expect(await region.locator('.heat').allInnerTexts()).toEqual(
      expect.arrayContaining([expect.stringContaining('100%'), expect.stringContaining('10%')]),
    );
    const shade = (cell: string) =>
      page.evaluate<string>(`getComputedStyle(document.querySelector('${cell}')).backgroundColor`);
    expect(await shade('.heat-10')).not.toBe(await shade('.heat-1'));
    expect(await page.locator('section[aria-labelledby="robustness-title"] table').count()).toBe(2);
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(await violations(page)).toEqual([]);
    expect(await scrollsSideways(page)).toBe(false);
    const folder = process.env.FLOODGATE_SCREENSHOTS;
    if (folder !== undefined) {
      await page.evaluate("document.querySelector('#transfer-title').scrollIntoView({ behavior: 'instant' })");
      await page.screenshot({ path: join(folder, `view-heat-${name.replace(', ', '-')}.png`) });
    }
    expect(complaints).toEqual([]);
  });
});
