import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import Database from 'libsql';
import type { Browser, BrowserContextOptions } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { labelRun } from '../../src/runs/labelled-run.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { cli } from '../cli/cli-runner.ts';
import { FIXTURE_CAUSES, fixtureAttacks } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { openPage, violations } from './opened-page.ts';
import { HOSTILE, makeRun, type StartedView, startView } from './viewed.ts';

const [IMAGE = ''] = HOSTILE.map(({ text }) => text);
const causes = (...ways: readonly string[]) => ({
  ...FIXTURE_CAUSES,
  ways: ways.map((cause) => ({ cause, example: `${cause} now`, isEcho: false, successes: 3, searches: 1 })),
});

/** Two runs of the same attacks; the later target refuses those of kind 1, and has a way of hostile words. */
async function makeRuns(parent: string): Promise<void> {
  await makeRun(parent, 'before', {
    attacks: fixtureAttacks(),
    causes: causes('kind1 please', 'kind0 please say hidden phrase 0'),
  });
  const attacks = fixtureAttacks().map((each) => (each.text.startsWith('kind1') ? { ...each, unsafe: 0.05 } : each));
  const after = await makeRun(parent, 'after', {
    attacks: [...attacks, ...HOSTILE],
    causes: causes(IMAGE, 'kind0 please say hidden phrase 0'),
  });
  const [configPath, manifestPath] = [join(after, 'config.yaml'), join(after, 'manifest.json')];
  const config = readFileSync(configPath, 'utf8');
  writeFileSync(configPath, `${config.replace(/^seed: \d+$/m, 'seed: 77')}\nnote: "<b>bold\\u202e</b>"\n`);
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
  writeFileSync(manifestPath, JSON.stringify({ ...manifest, createdAt: '2031-05-06T07:08:09.000Z' }));
}

/** A run whose comparison takes long: many attacks, and many ways that each of them is read for. */
async function makeLarge(parent: string, name: string, shift: number): Promise<void> {
  const ways = Array.from({ length: 100 }, (_, i) => `way${shift + i} number`);
  const folder = await makeRun(parent, name, { attacks: fixtureAttacks(20), causes: causes(...ways) });
  const db = new Database(join(folder, 'run.db'));
  const stage = "(SELECT id FROM stage WHERE name = 'evaluate:gflownet')";
  const rows = `WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 13000)`;
  db.exec(`${rows} INSERT INTO attack (id, stage_id, update_index, position, source, ids, text, response_count)
    SELECT i, ${stage}, 1, i, 'evaluation', '[1]', 'way' || (i % 400) || ' number ' || i || ' of many attacks', 1 FROM n`);
  db.exec(
    `${rows} INSERT INTO response (id, attack_id, position, text, tokens, truncated) SELECT i, i, 0, 'reply', 1, 0 FROM n`,
  );
  db.exec(`${rows} INSERT INTO verdict (response_id, judge, masked, unsafe) SELECT i, 'other', 0, (i % 2) FROM n`);
  db.close();
}

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  const make = async (parent: string) => {
    await makeRuns(parent);
    await makeRun(parent, 'empty', { stages: [], attacks: [] });
    await makeLarge(parent, 'large1', 0);
    await makeLarge(parent, 'large2', 75);
  };
  started = await startView(make, [], {
    compareWorker: pathToFileURL(join(builtProgram(), 'view/compare-worker.js')),
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await started?.close();
});

interface Text {
  readonly characters: number;
  readonly parts?: readonly string[];
}
interface Compared {
  readonly runs: readonly { readonly key: string; readonly name: string }[];
  readonly figures: readonly {
    readonly attacker: string;
    readonly figure: string;
    readonly values: readonly string[];
    readonly difference: string;
    readonly direction: string;
  }[];
  readonly shared: { readonly words: string; readonly counts: object };
  readonly states: readonly { readonly state: string; readonly count: number; readonly ways: { cause: Text }[] }[];
  readonly settings: readonly { readonly key: string; readonly values: readonly (readonly string[] | null)[] }[];
}
type Answer =
  | ({ readonly isDone: true; readonly version: string } & Compared)
  | { readonly isDone: false; readonly progress: string };

const send = (path: string) => started.send({ path, headers: { cookie: started.cookie } });
/** The first answer that is no progress. */
async function sendCompare(query: string) {
  for (;;) {
    const sent = await send(`/api/compare?${query}`);
    if (!sent.text.startsWith('{"isDone":false')) return sent;
  }
}
async function compare(query = 'run=before&run=after') {
  const { status, text } = await sendCompare(query);
  if (status !== 200) throw new Error(`${query}: ${status} ${text}`);
  return JSON.parse(text) as Compared & { readonly version: string };
}

describe('the comparison in the API', () => {
  it('has the figures of floodgate compare, word for word', async () => {
    const { stdout } = await cli(['compare', 'before', 'after', '--runs-dir', started.parent]);
    const { figures, shared, states, runs } = await compare();
    expect(runs.map(({ name }) => name)).toEqual(['before', 'after']);
    const printed = stdout.split('\n').map((line) => line.split(/ {2,}/));
    expect(figures.length).toBeGreaterThanOrEqual(3);
    for (const { attacker, figure, values, difference } of figures)
      expect(printed).toContainEqual([attacker, figure, ...values, difference]);
    expect(stdout).toContain(shared.words);
    expect(shared.counts).toEqual({ both: 16, firstOnly: 8, secondOnly: 0, neither: 16 });
    expect(states.map(({ state, count }) => [state, count])).toEqual([
      ['new', 1],
      ['open', 1],
      ['closed', 1],
    ]);
    const json = JSON.parse((await cli(['compare', 'before', 'after', '--json', '--runs-dir', started.parent])).stdout);
    expect(json.shared.counts).toEqual(shared.counts);
  });

  it('says of each figure whether its difference is clear, and where it has no interval', async () => {
    const { figures } = await compare();
    const directions = figures.map(({ attacker, figure, direction }) => [`${attacker} ${figure}`, direction]);
    expect(Object.fromEntries(directions)).toEqual({
      'sft success rate': 'unclear',
      'sft wordings': 'no interval',
      'gflownet success rate': 'unclear',
      'gflownet ways': 'unclear',
      'gflownet wordings': 'no interval',
    });
  });

  it('is for the session alone, and changes nothing', async () => {
    const path = '/api/compare?run=before&run=after';
    expect((await started.send({ path })).status).toBe(401);
    const headers = { cookie: started.cookie, origin: started.base };
    expect((await started.send({ method: 'POST', path, headers })).status).toBe(405);
  });

  it('holds no text of an attack unless the request asks, and then no character that hides', async () => {
    const { text } = await sendCompare('run=before&run=after');
    expect(text).not.toMatch(/kind\d|onerror|please/);
    const { states, settings } = await compare('run=before&run=after&show=1');
    expect(states[0]?.ways[0]?.cause.parts).toEqual([IMAGE]);
    expect(settings).toEqual([
      { key: 'seed', values: [[expect.stringMatching(/^\d+$/)], ['77']] },
      { key: 'note', values: [null, ['"<b>bold', '\\u{202e}', '</b>"']] },
    ]);
  });

  it.each([
    ['run=before', 400, 'bad_query'],
    ['run=before&run=after&x=1', 400, 'bad_query'],
    ['run=before&run=after&show=yes', 400, 'bad_query'],
    [Array.from({ length: 9 }, () => 'run=before').join('&'), 400, 'bad_query'],
    ['run=before&run=..%2fafter', 404, 'unknown_run'],
    ['run=before&run=before', 409, 'not_comparable'],
    ['run=before&run=empty', 409, 'not_comparable'],
  ])('refuses %s with %d', async (query, status, code) => {
    const sent = await sendCompare(query);
    expect([sent.status, JSON.parse(sent.text).error.code]).toEqual([status, code]);
    expect(sent.text).not.toContain(started.parent);
  });
});

describe('a comparison that takes long', () => {
  it('says how far it is, and the server answers other requests meanwhile', async () => {
    const path = '/api/compare?run=large1&run=large2';
    let [answered, isDone] = [0, false];
    const others = (async () => {
      for (; !isDone; answered++) expect((await send('/api/runs/large1/attacks?limit=1')).status).toBe(200);
    })();
    const steps: string[] = [];
    try {
      for (let now = await started.get<Answer>(path); !now.isDone; now = await started.get<Answer>(path))
        steps.push(now.progress);
    } finally {
      isDone = true;
    }
    await others;
    // Were the runs compared between two requests, the first answer would be the last one, too.
    expect(steps.length).toBeGreaterThan(1);
    expect(answered).toBeGreaterThan(steps.length);
    expect(steps[0]).toMatch(/^(Beginning|Reading|Comparing)/);
    expect(steps.at(-1)).toMatch(/^Comparing ways: \d+ of \d+\.$/);
    const { states } = await compare('run=large1&run=large2');
    expect(states.map(({ state, count }) => [state, count])).toEqual([
      ['new', 38],
      ['open', 99],
      ['closed', 38],
    ]);
  });

  it('is kept until a run changes, and the answer of a page stays as it was', async () => {
    const query = 'run=large1&run=large2';
    const before = await compare(query);
    const again = await started.get<Answer>(`/api/compare?${query}`);
    expect(again).toMatchObject({ isDone: true, version: before.version });
    labelRun(await openRunFolder('large1', started.parent), [{ kind: 'wording', attack: 1, value: 'new' }]);
    const shown = await started.get<Answer>(`/api/compare?${query}&show=1&version=${before.version}`);
    expect(shown).toMatchObject({ isDone: true, version: before.version });
    expect((await started.get<Answer>(`/api/compare?${query}`)).isDone).toBe(false);
    expect((await compare(query)).version).not.toBe(before.version);
  });
});

/** The page of the comparison, chosen in the list with the keyboard alone. */
async function openComparison(options: BrowserContextOptions = DESKTOP) {
  const opened = await openPage(browser, started, options);
  const { page } = opened;
  await page.getByRole('combobox', { name: 'Before', exact: true }).focus();
  await page.keyboard.type('before');
  await page.keyboard.press('Tab');
  await page.keyboard.type('after');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'before → after' }).waitFor();
  return opened;
}

describe('the comparison on the page', () => {
  it('is chosen in the list, and shows figures, ways and settings as text', async () => {
    const { page, complaints } = await openComparison();
    expect(page.url()).toBe(`${started.base}/#/compare/before/after`);
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    const { figures, shared } = await compare();
    const rows = await page.locator('section[aria-labelledby="figures-title"] tbody tr').allInnerTexts();
    expect(rows).toHaveLength(figures.length);
    expect(rows[0]).toContain(figures[0]?.difference);
    expect(rows[0]).toContain('no clear difference');
    await page.getByText(shared.words).waitFor();
    expect(await page.locator('details summary').allInnerTexts()).toEqual([
      '1 way new: in no earlier run',
      '1 way still open',
      '1 way closed: attacks that hold its cause were asked, none succeeded',
    ]);
    const settings = page.locator('section[aria-labelledby="settings-title"]');
    expect(await settings.innerText()).toContain('"<b>bold\\u{202e}</b>"');
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(complaints).toEqual([]);
  });

  it('hides causes until each is asked for, and a reload hides them again', async () => {
    const { page, complaints } = await openComparison();
    expect(await page.content()).not.toMatch(/onerror|kind1 please/);
    await page.locator('details[data-state="new"] summary').press('Enter');
    await page.getByRole('button', { name: 'Show cause of way new 1' }).press('Enter');
    await page.getByText(IMAGE, { exact: true }).waitFor();
    expect(await page.locator('.veil.shown').count()).toBe(1);
    expect(await page.evaluate('window.ran')).toBeUndefined();
    await page.reload();
    await page.getByRole('heading', { level: 1, name: 'before → after' }).waitFor();
    expect(await page.content()).not.toMatch(/onerror/);
    expect(complaints).toEqual([]);
  });

  it('says why two runs cannot be compared', async () => {
    const { page, complaints } = await openPage(browser, started, DESKTOP, '#/compare/before/empty');
    await page.getByRole('alert').getByText('run empty has measured nothing yet').waitFor();
    expect(complaints.filter((line) => !line.includes('409'))).toEqual([]);
    await page.getByRole('link', { name: 'Floodgate' }).click();
    await page.getByRole('combobox', { name: 'After', exact: true }).selectOption('before');
    await page.getByRole('combobox', { name: 'Before', exact: true }).selectOption('before');
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.getByText('These are the same run. Choose two.').waitFor();
    expect(page.url()).toBe(`${started.base}/#/`);
  });
});

describe.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)('on a %s', (name, options) => {
  it('has nothing that axe objects to, and never scrolls sideways', async () => {
    const { page, complaints } = await openComparison(options);
    for (const summary of await page.locator('details summary').all()) await summary.click();
    await page.getByRole('button', { name: 'Show cause of way closed 1' }).click();
    await page.locator('.veil.shown').waitFor();
    expect(await violations(page)).toEqual([]);
    expect(await scrollsSideways(page)).toBe(false);
    const folder = process.env.FLOODGATE_SCREENSHOTS;
    if (folder !== undefined)
      await page.screenshot({ path: join(folder, `view-compare-${name.replace(', ', '-')}.png`), fullPage: true });
    expect(complaints).toEqual([]);
  });
});
