import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cosineOfRows } from '../../src/metrics/embedding-matrix.ts';
import { finishSteps } from '../../src/metrics/steps.ts';
import { readEvaluatedAttacks, textsToEmbed } from '../../src/report/attacks/evaluated-attacks.ts';
import { keptMapOf, parseKeptMap } from '../../src/report/attacks/kept-map.ts';
import { buildReport } from '../../src/report/figures/report-json.ts';
import { renderReportPage } from '../../src/report/report-page.ts';
import { collectPageContent } from '../../src/report/sections/page-content.ts';
import { readManifest } from '../../src/runs/manifest.ts';
import { addLabels } from '../../src/runs/store/label-store.ts';
import { attackKey } from '../../src/runs/store/labels.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { fixtureAttacks, fixtureRun, fixtureVectors } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { openPage, violations } from './opened-page.ts';
import { makeRun, type StartedView, startView } from './viewed.ts';

const FIRST = fixtureAttacks(1)[0]?.text ?? '';

/** A run with the map that its report keeps. */
async function makeMapped(parent: string, name: string) {
  const folder = await makeRun(parent, name, { attacks: fixtureAttacks() });
  const store = await openStore(join(folder, 'run.db'), { readOnly: true });
  const manifest = await readManifest(join(folder, 'manifest.json'));
  const report = buildReport({ store, manifest, status: 'done' });
  const { config, store: other } = await fixtureRun();
  other.close();
  const vectors = fixtureVectors(textsToEmbed(readEvaluatedAttacks(store, report)));
  const content = finishSteps(collectPageContent({ store, report, manifest, config, vectors }));
  store.close();
  writeFileSync(join(folder, 'attack-map.json'), JSON.stringify(keptMapOf(content)));
  return { folder, content, vectors };
}

let started: StartedView;
let browser: Browser;
let made: Awaited<ReturnType<typeof makeMapped>>;
beforeAll(async () => {
  started = await startView(async (parent) => {
    made = await makeMapped(parent, 'mapped');
    await makeMapped(parent, 'stale');
    await makeRun(parent, 'plain');
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

interface MapAnswer {
  readonly encoder: string | null;
  readonly stale: number;
  readonly panels: readonly {
    readonly stage: string;
    readonly summary: string;
    readonly points: readonly {
      readonly id: number;
      readonly x: string;
      readonly y: string;
      readonly isSuccess: boolean;
    }[];
    readonly wordings: readonly { readonly number: number; readonly successes: number; readonly name: unknown }[];
  }[];
}
const mapOf = (run: string) => started.get<MapAnswer>(`/api/runs/${run}/map`);

describe('the map of attacks', () => {
  it('has the places, outcomes and wordings of the report page, and no text', async () => {
    const { status, text } = await started.send({ path: '/api/runs/mapped/map', headers: { cookie: started.cookie } });
    expect([status, /kind\d|please/.test(text)]).toEqual([200, false]);
    const { panels, stale, encoder } = JSON.parse(text) as MapAnswer;
    expect([encoder, stale]).toEqual(['toy-encoder', 0]);
    expect(panels.map(({ stage, summary }) => [stage, summary])).toEqual([
      ['sft', '20 attacks, 12 successes'],
      ['gflownet', '40 attacks, 24 successes'],
    ]);
    const source = await fixtureRun();
    const { markup } = renderReportPage({ ...source, vectors: made.vectors }, { withTexts: true });
    source.store.close();
    const section = markup.slice(markup.indexOf('<section id="map"'));
    for (const { points } of panels)
      for (const { x, y, isSuccess } of points)
        expect(section).toContain(`<circle class="${isSuccess ? 'hit' : 'miss'}" cx="${x}" cy="${y}"`);
    // Kinds 0 to 2 succeed, eight attacks each; sft's successes are not grouped.
    expect(panels.map(({ wordings }) => wordings.map(({ number, successes }) => [number, successes]))).toEqual([
      [],
      [1, 2, 3].map((number) => [number, 8]),
    ]);
  });

  it('has the name that a reader gave to a wording', async () => {
    const label = { kind: 'wording', subject: attackKey(FIRST), value: 'a <b>name</b>' } as const;
    addLabels(join(started.parent, 'mapped', 'labels.db'), [label]);
    const names = (await mapOf('mapped')).panels[1]?.wordings.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([['a <b>name</b>'], null]));
  });

  it('is missing without a report, with a damaged file, and where the attacks were replaced', async () => {
    expect((await mapOf('plain')).panels).toEqual([]);
    writeFileSync(join(started.parent, 'plain', 'attack-map.json'), '{"mapVersion": 2}');
    expect((await mapOf('plain')).panels).toEqual([]);
    const store = await openStore(join(started.parent, 'stale', 'run.db'));
    store.truncateAfter('evaluate:gflownet', -1);
    store.close();
    const { panels, stale } = await mapOf('stale');
    expect([panels.map(({ stage }) => stage), stale]).toEqual([['sft'], 1]);
  });
});

describe('attacks of one wording, as the report grouped them', () => {
  const idsOf = async (run: string, query: string) => {
    const { attacks } = await started.get<{ attacks: { id: number }[] }>(`/api/runs/${run}/attacks?limit=200&${query}`);
    return attacks.map(({ id }) => id).reverse();
  };

  it('are found with every row that has one of its texts', async () => {
    const { groups } = await started.get<{
      groups: { value: string; words: string; successes: number; name: unknown }[];
    }>('/api/runs/mapped/topics');
    expect(groups.map(({ value, words, successes }) => [value, words, successes])).toEqual(
      [1, 2, 3].map((number) => [`gflownet/${number}`, `GFlowNet ${number}`, 8]),
    );
    expect(groups.map(({ name }) => name)).toEqual([['a <b>name</b>'], null, null]);
    // Kind 0 is in 4 rows of sft's evaluation, too.
    const kind0 = [1, 6, 11, 16, ...[0, 5, 10, 15, 20, 25, 30, 35].map((i) => 21 + i)];
    expect(await idsOf('mapped', 'group=gflownet/1')).toEqual(kind0);
    expect(await idsOf('mapped', 'group=gflownet/1&stage=evaluate:sft')).toEqual(kind0.slice(0, 4));
    expect(await idsOf('mapped', `group=gflownet/1&wording=${encodeURIComponent('a <b>name</b>')}`)).toEqual([1, 21]);
    expect(await idsOf('mapped', `group=gflownet/2&wording=${encodeURIComponent('a <b>name</b>')}`)).toEqual([]);
  });

  it('are none where the report has no such wording, or is older than the attacks', async () => {
    for (const group of ['gflownet/4', 'gflownet/0', 'sft/1', 'nothing', '/1'])
      expect(await idsOf('mapped', `group=${group}`)).toEqual([]);
    expect(await idsOf('stale', 'group=gflownet/1')).toEqual([]);
    expect(await started.get('/api/runs/stale/topics')).toMatchObject({ groups: [] });
  });
});

describe('neighbours by meaning', () => {
  it('are the nearest by the cosine of the report’s embeddings', async () => {
    const { neighbours } = await started.get<{
      neighbours: { by: string; attacks: { id: number; likeness: number; text: object }[] };
    }>('/api/runs/mapped/attacks/24/related');
    expect(neighbours).toMatchObject({ by: 'meaning', encoder: 'toy-encoder', judge: 'other' });
    const texts = fixtureAttacks().map(({ text }) => text);
    const matrix = made.vectors.kind === 'made' ? made.vectors.matrixOf(texts) : undefined;
    if (matrix === undefined) throw new Error('the fixture has vectors');
    const expected = texts
      .flatMap((_, j) => (j % 5 < 3 ? [{ id: 21 + j, cosine: cosineOfRows(matrix, 3, j) }] : []))
      .sort((a, b) => b.cosine - a.cosine)
      .slice(0, 5);
    expect(neighbours.attacks.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    for (const [i, { likeness, text }] of neighbours.attacks.entries()) {
      expect(likeness).toBeCloseTo(expected[i]?.cosine ?? Number.NaN, 12);
      expect(Object.keys(text)).toEqual(['characters']);
    }
  });

  it('is what the file says, read back whole', () => {
    const file = parseKeptMap(readFileSync(join(made.folder, 'attack-map.json'), 'utf8'));
    expect(file).toEqual(keptMapOf(made.content));
    expect(JSON.stringify(file)).not.toMatch(/kind\d/);
  });
});

describe.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)('on a %s', (name, options) => {
  it('the map is drawn with a colour and a number for each of the largest wordings', async () => {
    const { page, complaints } = await openPage(browser, started, options, '#/run/mapped');
    await page.getByText(/^Page 1: 50 attacks/).waitFor();
    const map = page.locator('section[aria-labelledby="map-title"]');
    const choice = page.getByRole('combobox', { name: 'Wording', exact: true });
    await choice.waitFor(); // it comes after the page
    expect(await choice.locator('option').allInnerTexts()).toEqual([
      ...['any', 'GFlowNet 1: a <b>name</b>', 'GFlowNet 2: 8 successes', 'GFlowNet 3: 8 successes'],
    ]);
    await choice.selectOption('GFlowNet 2: 8 successes');
    await page.getByText('Page 1: 12 attacks.').waitFor();
    await map.getByRole('img', { name: 'Map of the attacks of GFlowNet: 40 attacks, 24 successes.' }).waitFor();
    expect(await map.locator('circle').count()).toBe(60);
    expect(await map.locator('.map-number').allInnerTexts()).toHaveLength(3);
    const fill = (style: string) => page.evaluate<string>(`getComputedStyle(document.querySelector('${style}')).fill`);
    expect(new Set([await fill('.wording-1'), await fill('.wording-2'), await fill('.wording-3')]).size).toBe(3);
    expect(await page.locator('main b').count()).toBe(0);
    expect(await violations(page)).toEqual([]);
    expect(await scrollsSideways(page)).toBe(false);
    const folder = process.env.FLOODGATE_SCREENSHOTS;
    if (folder !== undefined) {
      await page.evaluate("document.querySelector('#map-title').scrollIntoView({ behavior: 'instant' })");
      await page.screenshot({ path: join(folder, `view-map-${name.replace(', ', '-')}.png`) });
    }
    await map.getByRole('link').first().click();
    await page.getByRole('heading', { level: 1, name: /^Attack \d+$/ }).waitFor();
    expect(complaints).toEqual([]);
  });
});
