import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acquireLock } from '../../src/base/lock.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { fixtureAttacks } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { openPage, violations } from './opened-page.ts';
import { CELLS, HOSTILE, makeCellRun, makeRun, type StartedView, startView } from './viewed.ts';

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await makeRun(parent, 'first');
    await makeRun(parent, 'live', { status: 'running' });
    await makeCellRun(parent, 'of cells');
    await makeRun(parent, 'short', { attacks: [...fixtureAttacks(2), ...HOSTILE], stages: ['gflownet'] });
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

const open = (options: BrowserContextOptions = DESKTOP, hash = '') => openPage(browser, started, options, hash);

async function openRun(options: BrowserContextOptions = DESKTOP) {
  const opened = await open(options, '#/run/first');
  await opened.page.getByText(/^Page 1: 50 attacks/).waitFor();
  return opened;
}

/** Attacks of the run `short`: axe looks at every row, and a few are of each kind. */
const SHORT = 2 + HOSTILE.length;

/** Keeps a picture where `FLOODGATE_SCREENSHOTS` names a folder. */
async function shot(page: Page, name: string): Promise<void> {
  const folder = process.env.FLOODGATE_SCREENSHOTS;
  if (folder !== undefined) await page.screenshot({ path: join(folder, `view-${name}.png`) });
}

const rowsOf = (page: Page) => page.locator('.attacks tbody tr');

describe('the page', () => {
  it('exchanges the token for a cookie that its script cannot read, and forgets the token', async () => {
    const { context, page, complaints } = await open();
    expect(page.url()).toBe(`${started.base}/#/`);
    expect(await page.evaluate('document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)')).toBe(
      '{}{}',
    );
    expect(await context.cookies()).toMatchObject([{ httpOnly: true, sameSite: 'Strict' }]);
    expect(await page.locator('tbody tr').allInnerTexts()).toEqual([
      expect.stringMatching(/^first\s+done/),
      expect.stringMatching(/^live\s+interrupted/),
      expect.stringMatching(/^of cells\s+done/),
      expect.stringMatching(/^short\s+done/),
    ]);
    await page.getByRole('link', { name: 'first' }).click();
    await page.getByRole('heading', { level: 1, name: 'first' }).waitFor();
    expect(complaints).toEqual([]);
  });

  it('without a session says what to do, and shows no run', async () => {
    const page = await (await browser.newContext()).newPage();
    for (const hash of ['', '#token=wrong', '#/run/first']) {
      await page.goto('about:blank');
      await page.goto(`${started.base}/${hash}`);
      expect(await page.getByRole('alert').innerText()).toMatch(/open the address that floodgate view printed/);
      expect(await page.locator('table').count()).toBe(0);
    }
  });

  it('shows a run with its figures and curves, each with words', async () => {
    const { page, complaints } = await openRun();
    const text = await page.locator('main').innerText();
    expect(text).toMatch(/success rate\s+64%\s+50–77%\s+45/i);
    expect(await page.locator('figure.chart svg[role=img]').count()).toBeGreaterThan(8);
    expect(await page.locator('figure.chart svg').first().getAttribute('aria-label')).toMatch(/from .* at update 0/);
    expect(complaints).toEqual([]);
  });
});

describe('attacks', () => {
  it('turn pages, filter and search, also by the keyboard alone', async () => {
    const { page, complaints } = await openRun();
    await page.getByRole('button', { name: 'Older' }).click();
    await page.getByText('Page 2: 15 attacks.').waitFor();
    expect(await page.getByRole('button', { name: 'Older' }).isDisabled()).toBe(true);
    await page.getByRole('button', { name: 'Newer' }).press('Enter');
    await page.getByText('Page 1: 50 attacks.').waitFor();
    await page.getByLabel('Outcome').selectOption('failure');
    await page.getByText('Page 1: 24 attacks.').waitFor();
    await page.getByLabel('Search in attacks').fill('kind3');
    await page.keyboard.press('Enter');
    await page.getByText('Page 1: 12 attacks.').waitFor();
    await page.getByLabel('Search in attacks').fill('nothing like it');
    await page.keyboard.press('Enter');
    await page.getByText('No attack matches.').waitFor();
    expect(complaints).toEqual([]);
  });

  it('are hidden until asked for, one by one or all until the page is reloaded', async () => {
    const { page, complaints } = await openRun();
    const content = () => page.content();
    expect(await content()).not.toContain('onerror');
    await page.getByRole('button', { name: 'Show attack 65' }).click();
    await page.getByRole('button', { name: 'Hide attack 65' }).waitFor();
    expect(await rowsOf(page).first().locator('.veil-body').innerText()).toBe(HOSTILE.at(-1)?.text);
    expect(await page.locator('.veil.shown').count()).toBe(1);
    await page.getByRole('button', { name: 'Hide attack 65' }).click();
    expect(await page.locator('.veil.shown').count()).toBe(0);
    await page.getByRole('button', { name: /Show all texts/ }).click();
    await page.getByRole('button', { name: 'Keep them hidden' }).click();
    expect(await content()).not.toContain('onerror');
    await page.getByRole('button', { name: /Show all texts/ }).click();
    await page.getByRole('button', { name: 'Show all', exact: true }).click();
    await page.locator('.veil.shown').nth(49).waitFor();
    await page.reload();
    await page.getByText('Page 1: 50 attacks.').waitFor();
    expect(await page.locator('.veil.shown').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it('are text and nothing else, whatever a model wrote', async () => {
    const { page, complaints } = await openRun();
    await page.getByRole('button', { name: /Show all texts/ }).click();
    await page.getByRole('button', { name: 'Show all', exact: true }).click();
    await page.locator('.veil.shown').nth(49).waitFor();
    for (let i = 0; i < HOSTILE.length; i++)
      await rowsOf(page).nth(i).locator('summary', { hasText: 'answers' }).click();
    await page
      .locator('.answers .veil.shown')
      .nth(2 * HOSTILE.length - 1)
      .waitFor();
    const body = rowsOf(page).nth(HOSTILE.length - 1);
    expect(await body.locator('.attack-text > .veil .veil-body').innerText()).toBe(HOSTILE[0]?.text);
    expect(await body.locator('.answers .veil-body').first().innerText()).toBe(HOSTILE[0]?.responses[0]);
    expect(await page.locator('.veil-body *:not(.escape):not(.veil-note)').count()).toBe(0);
    expect(await page.locator('main :is(img, script, iframe, b)').count()).toBe(0);
    expect(await page.evaluate('window.ran')).toBeUndefined();
    expect(await rowsOf(page).nth(1).locator('.attack-text > .veil .escape').count()).toBe(3);
    expect(complaints).toEqual([]);
  });
});

it('refreshes figures and curves while a run trains, and says when it has ended', async () => {
  const folder = join(started.parent, 'live');
  const lock = await acquireLock(join(folder, 'lock'));
  // A clock that can be moved on: the page waits five seconds between two looks.
  const { page, complaints } = await openPage(browser, started, DESKTOP, '#/run/live', (each) => each.clock.install());
  const refreshed = async (locator: Locator): Promise<void> => {
    while ((await locator.count()) === 0) {
      await page.clock.fastForward(5000);
      await locator.waitFor({ timeout: 500 }).catch(() => undefined);
    }
  };
  const status = page.locator('.lead');
  await status.getByText('running').waitFor();
  const store = await openStore(join(folder, 'run.db'));
  store.beginStage('reinforce', 5);
  const metric = (name: string, value: number | null, n = 1) => ({ name, value, low: null, high: null, n });
  const attack = (text: string, meanUnsafe: number) =>
    ({ source: 'fresh', ids: [1], text, meanUnsafe, responses: [] }) as const;
  store.recordUpdate({ stage: 'reinforce', update: 0, metrics: [metric('loss', 2), metric('heldOutUnique', 3, 8)] });
  store.recordUpdate({
    ...{ stage: 'reinforce', update: 1, metrics: [metric('loss', 1), metric('batchAsr', 0.75), metric('logZ', null)] },
    attacks: [attack('one', 0.9), attack('one', 0.8), attack('two', 0.7), attack('three', 0.5)],
  });
  await refreshed(page.getByRole('rowheader', { name: 'reinforce', exact: true }));
  await page.locator('.stage-curves h3', { hasText: '2 updates' }).waitFor();
  const found = page.locator('.found');
  expect(await found.innerText()).toBe(
    'So far, by the training judge: loss 1, success rate 75%, 2 different successful texts, 3 wordings among ' +
      '8 held-out attacks after 1 update. Ways are counted after the evaluation, by their causes.',
  );
  // The newest attacks come in by themselves, until a reader opens one.
  await refreshed(page.getByRole('rowheader', { name: '69', exact: true }));
  await page.getByRole('button', { name: 'Show attack 69' }).click();
  store.recordUpdate({ stage: 'reinforce', update: 2, attacks: [attack('four', 0.9)] });
  await refreshed(found.getByText('3 different successful texts'));
  expect(await page.getByRole('rowheader', { name: '70', exact: true }).count()).toBe(0);
  expect(await rowsOf(page).first().locator('.veil-body').first().innerText()).toBe('three');
  await page.getByRole('button', { name: 'Hide attack 69' }).click();
  await page.getByRole('heading', { level: 1 }).click();
  await page.evaluate('document.activeElement.blur()');
  store.recordUpdate({ stage: 'reinforce', update: 3, attacks: [attack('five', 0.9)] });
  store.close();
  await refreshed(page.getByRole('rowheader', { name: '71', exact: true }));
  await page.evaluate('scrollTo({ top: 0, behavior: "instant" })');
  await shot(page, 'live-desktop-light');
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await scrollsSideways(page)).toBe(false);
  await shot(page, 'live-phone-dark');
  await lock.release();
  await refreshed(status.getByText('interrupted'));
  expect(await found.isVisible()).toBe(false);
  expect(complaints).toEqual([]);
});

describe.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)('on a %s', (name, options) => {
  it('shows the cells of a run that has any: figures, a column and a filter', async () => {
    const { page, complaints } = await open(options, '#/run/of%20cells');
    await page.getByText('Page 1: 6 attacks.').waitFor();
    const figures = page.getByRole('table', { name: 'GFlowNet: success rate and wordings by cell.' });
    expect(await figures.locator('tbody tr').allInnerTexts()).toEqual([
      expect.stringMatching(/^<b>cats<\/b>\s+3\s+67%\s+21–94%\s+2$/),
      expect.stringMatching(/^dogs\s+2\s+50%\s+9\.5–91%\s+1$/),
    ]);
    const ofRows = () => rowsOf(page).locator('[data-label=cell]').allInnerTexts();
    const [cats, dogs] = CELLS;
    expect(await ofRows()).toEqual(['–', cats, dogs, cats, dogs, cats]);
    const choice = page.getByRole('combobox', { name: 'Cell', exact: true });
    expect(await choice.locator('option').allInnerTexts()).toEqual(['any', ...CELLS]);
    await choice.selectOption('dogs');
    await page.getByText('Page 1: 2 attacks.').waitFor();
    expect(await ofRows()).toEqual([dogs, dogs]);
    await page.getByRole('heading', { name: 'Attacks' }).scrollIntoViewIfNeeded();
    await shot(page, `cells-${name.replace(', ', '-')}`);
    expect(await violations(page)).toEqual([]);
    expect(await scrollsSideways(page)).toBe(false);
    await page.evaluate("location.hash = '#/run/of%20cells/attack/1'");
    await page.getByRole('heading', { level: 1, name: 'Attack 1' }).waitFor();
    expect(await ofRows()).toEqual([cats]);
    expect(await page.locator('main b').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it('shows nothing of cells where a run has none', async () => {
    const { page, complaints } = await open(options, '#/run/short');
    await page.getByText(`Page 1: ${SHORT} attacks.`).waitFor();
    const headings = ['attack', 'stage', 'update', 'source', 'P(unsafe)', 'text'];
    expect(await page.locator('.attacks thead th').allTextContents()).toEqual(headings);
    expect(await page.getByRole('combobox', { name: 'Cell' }).count()).toBe(0);
    expect(await page.getByText('by cell').count()).toBe(0);
    await page.evaluate("location.hash = '#/run/short/attack/1'");
    await page.getByRole('heading', { level: 1, name: 'Attack 1' }).waitFor();
    expect(await page.locator('.attacks thead th').allTextContents()).toEqual(headings);
    expect(complaints).toEqual([]);
  });

  it('has nothing that axe objects to, and never scrolls sideways', async () => {
    const { page, complaints } = await open(options);
    expect(await violations(page)).toEqual([]);
    const run = await open(options, '#/run/short');
    await run.page.getByText(`Page 1: ${SHORT} attacks.`).waitFor();
    await run.page.locator('.reveal').first().click();
    await run.page.getByRole('button', { name: /Show all texts/ }).click();
    expect(await violations(run.page, '#confirm')).toEqual([]);
    await run.page.getByRole('button', { name: 'Keep them hidden' }).click();
    // One text is shown here, and all others are hidden: both kinds of row.
    expect(await violations(run.page)).toEqual([]);
    await run.page.getByRole('button', { name: /Show all texts/ }).click();
    await run.page.getByRole('button', { name: 'Show all', exact: true }).click();
    await run.page
      .locator('.attacks .veil.shown')
      .nth(SHORT - 1)
      .waitFor();
    expect(await violations(run.page, '.attacks')).toEqual([]);
    for (const each of [page, run.page]) expect(await scrollsSideways(each)).toBe(false);
    for (const [part, place] of [
      ['figures', 'h1'],
      ['attacks', '#attacks-title'],
    ] as const) {
      await run.page.evaluate(`document.querySelector('${place}').scrollIntoView({ behavior: 'instant' })`);
      await shot(run.page, `${part}-${name.replace(', ', '-')}`);
    }
    expect([...complaints, ...run.complaints]).toEqual([]);
  });
});
