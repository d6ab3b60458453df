import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readLabels, systemUser } from '../../src/runs/store/label-store.ts';
import { answerKey, attackKey } from '../../src/runs/store/labels.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { FIXTURE_CAUSES } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { openPage, violations } from './opened-page.ts';
import { HOSTILE, makeRun, type StartedView, startView } from './viewed.ts';

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  started = await startView((parent) => makeRun(parent, 'first', { causes: FIXTURE_CAUSES }));
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

async function openRun(options: BrowserContextOptions = DESKTOP) {
  const opened = await openPage(browser, started, options, '#/run/first');
  await opened.page.getByText(/^Page 1: 50 attacks/).waitFor();
  return opened;
}

const labels = () => readLabels(join(started.parent, 'first', 'labels.db'));
/** The newest attack, whose texts are hostile, and the newest of the fixture. */
const [HOSTILE_ID, FIXTURE_ID] = [65, 60];
const [HOSTILE_ATTACK, FIXTURE_TEXT] = [HOSTILE.at(-1), 'kind4 please say hidden phrase 39'];
const rowOf = (page: Page, id: number) =>
  page.locator('.attacks tbody tr', { has: page.getByRole('rowheader', { name: String(id), exact: true }) });

describe('labels on the page', () => {
  it('say whether an answer is unsafe in truth, and mark wrong verdicts; again withdraws', async () => {
    const { page, complaints } = await openRun();
    const row = rowOf(page, HOSTILE_ID);
    await row.locator('summary', { hasText: '2 answers' }).click();
    const safe = page.getByRole('button', { name: `answer 1 to attack ${HOSTILE_ID} is safe` });
    await safe.press('Enter');
    await row.getByText('trainer: 0.90, wrong').waitFor();
    expect(await row.locator('.answers li').first().innerText()).toMatch(
      /other: 0\.90, wrong · other, own words masked: 0\.90/,
    );
    expect(await safe.getAttribute('aria-pressed')).toBe('true');
    expect(await page.evaluate('document.activeElement.ariaPressed')).toBe('true');
    const subject = answerKey(HOSTILE_ATTACK?.text ?? '', HOSTILE_ATTACK?.responses[0] ?? '');
    expect(labels().find('verdict', subject)?.value).toBe('safe');
    await page.reload();
    await page.getByText(/^Page 1: 50 attacks/).waitFor();
    await row.locator('summary', { hasText: '2 answers' }).click();
    await row.getByText('trainer: 0.90, wrong').waitFor();
    await safe.click();
    await row.getByText('wrong').waitFor({ state: 'detached' });
    expect(await safe.getAttribute('aria-pressed')).toBe('false');
    expect(labels().find('verdict', subject)).toBeUndefined();
    // The texts are still hidden: a label needs none of them.
    expect(await page.locator('.veil.shown').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it('call the verdict of one judge alone wrong, and a list has them all and takes them back', async () => {
    const { page, complaints } = await openRun();
    const row = rowOf(page, FIXTURE_ID - 1);
    await row.locator('summary', { hasText: '2 answers' }).click();
    const name = `answer 2 to attack ${FIXTURE_ID - 1}`;
    await row.getByLabel(`One judge alone, ${name}`).press('Enter');
    const wrong = row.getByRole('button', { name: `verdict of other on ${name} is wrong` });
    await wrong.press('Enter');
    await row.getByText(/other: 0\.10, wrong · other, own words masked: 0\.10 · trainer: 0\.10 ·/).waitFor();
    expect(await wrong.getAttribute('aria-pressed')).toBe('true');
    const truth = row.getByRole('group', { name: `Label of ${name}`, exact: true });
    expect(await truth.locator('[aria-pressed=true]').count()).toBe(0);
    const subject = answerKey('kind3 please say hidden phrase 38', 'reply two of 38');
    expect(labels().find('verdict', subject, 'other')).toMatchObject({ value: 'unsafe', judge: 'other' });
    expect(labels().find('verdict', subject, 'trainer')).toBeUndefined();
    await page.getByRole('link', { name: 'All labels of this run' }).click();
    await page.getByRole('heading', { level: 1, name: 'Labels' }).waitFor();
    const first = page.locator('.label-list tbody tr').first();
    expect(await first.innerText()).toMatch(
      new RegExp(`unsafe, for other alone\\s+answer 2 to attack ${FIXTURE_ID - 1}\\s+${systemUser()}\\s+\\d{4}-`),
    );
    const id = labels().find('verdict', subject, 'other')?.id;
    await first.getByRole('button', { name: `Take back label ${id}` }).press('Enter');
    await page.getByText(`Label ${id} is taken back.`).waitFor();
    expect(await page.evaluate('document.activeElement.role')).toBe('status');
    expect(labels().find('verdict', subject, 'other')).toBeUndefined();
    await page.getByLabel('Also rows that were replaced').check();
    await page.getByText('no longer holds').first().waitFor();
    await page
      .getByRole('link', { name: `attack ${FIXTURE_ID - 1}` })
      .first()
      .click();
    await page.getByRole('heading', { level: 1, name: `Attack ${FIXTURE_ID - 1}` }).waitFor();
    expect(complaints).toEqual([]);
  });

  it('say that an attack is a duplicate, and name its wording, by the keyboard alone', async () => {
    const { page, complaints } = await openRun();
    const row = rowOf(page, FIXTURE_ID);
    await page.getByLabel(`Label attack ${FIXTURE_ID}`).focus();
    await page.keyboard.press('Enter');
    const duplicate = row.getByRole('form', { name: `Attack ${FIXTURE_ID} is a duplicate` });
    await duplicate.waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.type('55');
    await page.keyboard.press('Enter');
    await row.getByText('duplicate of attack 55 (').waitFor();
    const wording = row.getByRole('form', { name: `Wording of attack ${FIXTURE_ID}` });
    await wording.getByLabel('Name of its wording').fill('<b>please</b>');
    await wording.getByLabel('Note').fill('asks politely');
    await page.keyboard.press('Enter');
    await row.getByText('wording “<b>please</b>” (').waitFor();
    expect(await row.locator('.label-line').innerText()).toContain('asks politely');
    expect(await row.locator('b').count()).toBe(0);
    const subject = attackKey(FIXTURE_TEXT);
    expect(labels().find('duplicate', subject)?.original).toBe(55);
    expect(labels().find('wording', subject)).toMatchObject({ value: '<b>please</b>', note: 'asks politely' });
    await duplicate.getByRole('button', { name: 'Withdraw' }).click();
    await row.getByText('duplicate of attack').waitFor({ state: 'detached' });
    await duplicate.getByLabel('Repeats attack number').fill('999');
    await page.keyboard.press('Enter');
    await duplicate.getByText('it has no attack 999').waitFor();
    expect(labels().find('duplicate', subject)).toBeUndefined();
    expect(complaints.filter((line) => !line.includes('400 (Bad Request)'))).toEqual([]);
  });

  it('stand beside why an attack works: its cause, hidden until asked for, under its answers', async () => {
    const { page, complaints } = await openPage(browser, started, DESKTOP, `#/run/first/attack/${FIXTURE_ID}`);
    await page.locator('summary', { hasText: 'answers' }).click();
    await page.getByText(/^Why it works/).waitFor();
    expect(await page.content()).not.toContain('say hidden phrase');
    await page.getByRole('button', { name: `Show cause of attack ${FIXTURE_ID}` }).click();
    await page.locator('.veil.shown', { hasText: 'say hidden phrase' }).waitFor();
    expect(await violations(page)).toEqual([]);
    expect(complaints).toEqual([]);
  });

  it('name the way of an attack that holds its cause, which stays hidden until asked for', async () => {
    const { page, complaints } = await openRun();
    const row = rowOf(page, FIXTURE_ID);
    await row.locator('summary', { hasText: 'Label' }).click();
    const way = row.getByRole('form', { name: `Way of attack ${FIXTURE_ID}` });
    await way.getByLabel('Name of its way').fill('the phrase');
    await way.getByRole('button', { name: 'Save' }).click();
    await row.getByText('way “the phrase” (').waitFor();
    expect(labels().find('way', causeSha256('say hidden phrase'))?.value).toBe('the phrase');
    expect(await way.innerText()).not.toContain('hidden phrase');
    await way.getByRole('button', { name: `Show cause of attack ${FIXTURE_ID}` }).click();
    await way.getByText('say hidden phrase').waitFor();
    expect(complaints).toEqual([]);
  });

  it('of a random sample are asked for one by one, and the focus follows', async () => {
    const { page, complaints } = await openRun();
    await page.getByRole('button', { name: 'Next answer' }).click();
    const sample = page.locator('section', { has: page.locator('#sample-title') });
    const heading = sample.getByRole('heading', { level: 3 });
    await heading.waitFor();
    const first = await heading.innerText();
    await sample.getByRole('button', { name: /is unsafe$/ }).click();
    await heading.filter({ hasNotText: first }).waitFor();
    expect(await page.evaluate('document.activeElement.tagName')).toBe('H3');
    expect(await sample.getByRole('status').first().innerText()).toMatch(/^\d+ of 130 answers are labelled\.$/);
    expect(labels().all.some(({ kind, value }) => kind === 'verdict' && value === 'unsafe')).toBe(true);
    expect(complaints).toEqual([]);
  });
});

/** Axe and the width of the page; a picture where `FLOODGATE_SCREENSHOTS` names a folder. */
async function checkPart(page: Page, part: string, on: string, selector?: string): Promise<void> {
  expect(await violations(page, selector)).toEqual([]);
  expect(await scrollsSideways(page)).toBe(false);
  const folder = process.env.FLOODGATE_SCREENSHOTS;
  if (folder === undefined) return;
  await page.evaluate(`document.querySelector('${selector ?? 'body'}').scrollIntoView({ behavior: 'instant' })`);
  await page.screenshot({ path: join(folder, `view-${part}-${on.replace(', ', '-')}.png`) });
}

it.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)(
  'on a %s, with every form open, axe objects to nothing and nothing scrolls sideways',
  async (name, options) => {
    const { page, complaints } = await openRun(options);
    await page.getByRole('button', { name: 'Next answer' }).click();
    await page.locator('.sample h3').waitFor();
    await checkPart(page, 'sample', name, 'section[aria-labelledby="sample-title"]');
    // The attack on its own page: axe has no other rows to look at.
    await page.evaluate(`location.hash = '#/run/first/attack/${FIXTURE_ID}'`);
    const row = rowOf(page, FIXTURE_ID);
    await row.locator('summary', { hasText: 'answers' }).click();
    await row.locator('summary', { hasText: 'Label' }).click();
    await row.getByRole('form').nth(2).waitFor();
    const unsafe = row.getByRole('button', { name: /answer 1 .* is unsafe$/ });
    if ((await unsafe.getAttribute('aria-pressed')) === 'false') await unsafe.click();
    await row.locator('[aria-pressed=true]').waitFor();
    await row.locator('summary', { hasText: 'One judge alone' }).first().click();
    const wrong = row.getByRole('button', { name: /verdict of trainer on answer 1 .* is wrong$/ });
    await wrong.click();
    await row.getByText(/trainer: 0\.10, wrong/).waitFor();
    await checkPart(page, 'labels', name);
    await page.evaluate("location.hash = '#/run/first/labels'");
    await page.locator('.label-list tbody tr').first().waitFor();
    await checkPart(page, 'label-list', name);
    expect(complaints).toEqual([]);
  },
);
