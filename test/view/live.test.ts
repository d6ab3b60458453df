import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { acquireLock } from '../../src/base/lock.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { DESKTOP, launchBrowser } from '../report/page-browser.ts';
import { openPage } from './opened-page.ts';
import { makeRun, type StartedView, startView } from './viewed.ts';

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await makeRun(parent, 'killed', { status: 'running' });
    await makeRun(parent, 'live', { status: 'running' });
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

/** A page whose clock can be moved on. */
const open = (run: string) => openPage(browser, started, DESKTOP, `#/run/${run}`, (page) => page.clock.install());

/** Waits until the page has looked once more: a curve has the updates that a test has just stored. */
async function seesUpdate(page: Page, updates: number): Promise<void> {
  const drawn = page.locator('.stage-curves h3', { hasText: `${updates} update` });
  while ((await drawn.count()) === 0) {
    await page.clock.fastForward(5000);
    await drawn.waitFor({ timeout: 500 }).catch(() => undefined);
  }
}

const focused = (page: Page) => page.evaluate<string>('document.activeElement?.textContent ?? ""');

it('leaves the keyboard where it is while a run trains, and announces no time', async () => {
  const lock = await acquireLock(join(started.parent, 'live', 'lock'));
  const store = await openStore(join(started.parent, 'live', 'run.db'));
  store.beginStage('reinforce', 9);
  const look = (update: number) =>
    store.recordUpdate({
      ...{ stage: 'reinforce', update },
      metrics: ['loss', 'entropy', 'logZ'].map((name) => ({ name, value: 1 + update, low: null, high: null, n: 1 })),
    });
  look(0);
  const { page, complaints } = await open('live');
  const pause = page.getByRole('button', { name: 'Pause' });
  await pause.focus();
  look(1);
  await seesUpdate(page, 2);
  expect(await focused(page)).toBe('Pause after the step in hand');
  const fold = page.locator('.stage-curves summary').last();
  const words = await fold.innerText();
  await fold.press('Enter');
  look(2);
  await seesUpdate(page, 3);
  expect(await focused(page)).toBe(words);
  expect(await page.locator('.stage-curves details').last().getAttribute('open')).not.toBeNull();
  expect(await page.getByText(/^refreshed at/).getAttribute('aria-live')).toBe('off');
  store.close();
  await lock.release();
  expect(complaints).toEqual([]);
});

it('shows a run that goes on again, however late its process begins', async () => {
  const { page, complaints } = await open('killed');
  const status = page.locator('.lead');
  await status.getByText('interrupted').waitFor();
  await page.getByRole('button', { name: 'Resume' }).focus();
  await page.clock.fastForward(60_000);
  const lock = await acquireLock(join(started.parent, 'killed', 'lock'));
  for (let looks = 0; looks < 20 && !(await status.getByText('running').isVisible()); looks++) {
    await page.clock.fastForward(5000);
    await status
      .getByText('running')
      .waitFor({ timeout: 500 })
      .catch(() => undefined);
  }
  expect(await status.innerText()).toBe('running');
  expect(await focused(page)).toBe('Pause after the step in handStop at once');
  await lock.release();
  expect(complaints).toEqual([]);
});
