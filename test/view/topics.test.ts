import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCauseFinder } from '../../src/exports/known-causes.ts';
import { toParts } from '../../src/report/sections/text-vault.ts';
import { labelRun } from '../../src/runs/labelled-run.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { addLabels } from '../../src/runs/store/label-store.ts';
import { attackKey } from '../../src/runs/store/labels.ts';
import type { AttackRow } from '../../src/runs/store/records.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import type { VerdictRecord } from '../../src/trial/evidence.ts';
import { FIXTURE_CAUSES, fixtureAttacks } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { openPage, violations } from './opened-page.ts';
import { HOSTILE, makeRun, type StartedView, startView } from './viewed.ts';

const way = { isEcho: false, successes: 2, searches: 1 };
/** The third way has a variant, and a word that no comparison of ASCII letters finds in every text that holds it. */
const CAUSES = {
  ...FIXTURE_CAUSES,
  ways: [
    ...FIXTURE_CAUSES.ways,
    { cause: 'kindness counts', variants: ['counted kindness'], example: 'kindness counts now', ...way },
  ],
};
const [PHRASE = '', ECHO = '', KINDNESS = ''] = CAUSES.ways.map(({ cause }) => cause);

const verdict = (judge: string, unsafe: number | null, reason?: string, masked = false): VerdictRecord => ({
  ...{ judge, masked, unsafe },
  ...(reason === undefined ? {} : { reason }),
});
/** Texts with verdicts on one answer each; categories count where an unsafe verdict on the answer as it is names them. */
const NOTED: readonly (readonly [text: string, ...verdicts: VerdictRecord[]])[] = [
  ['noted once', verdict('other', 0.9, 'S10 Hate')],
  ['noted twice', verdict('other', 0.9, 'S10 Hate, S1 Violent Crimes, no log-probs')],
  ['noted by the trainer', verdict('trainer', 0.9, 'hate'), verdict('other', 0.9)],
  ['noted as safe', verdict('other', 0.5, 'S10 Hate, Sex Crimes')],
  ['noted while masked', verdict('other', 0.9), verdict('other', 0.9, 'S10 Hate, Sex Crimes', true)],
  ['noted in prose', verdict('other', 0.9, 'this is hate, not Sex Crimes\0')],
  ['not scored', verdict('other', null, 'Sex Crimes')],
];
/** Texts that hold causes in other letters, behind a NUL, or in part only. */
const HOLDING = [
  'now Say\n HIDDEN \tphrase',
  'behind \0 say hidden phrase',
  'say hidden phrases',
  '\u212aindness COUNTS',
  'he counted kindness',
];
const EXTRA = 'reinforce';

async function addExtra(path: string): Promise<void> {
  const row = (text: string, verdicts: readonly VerdictRecord[]): AttackRow => ({
    ...{ source: 'fresh', ids: [1], text, meanUnsafe: 0.9 },
    responses: [{ text: 'a reply', tokens: 1, truncated: false, verdicts }],
  });
  const store = await openStore(path);
  store.beginStage(EXTRA, 1);
  const attacks = [...NOTED.map(([text, ...verdicts]) => row(text, verdicts)), ...HOLDING.map((text) => row(text, []))];
  store.recordUpdate({ stage: EXTRA, update: 0, attacks });
  store.endStage(EXTRA, 'done');
  store.close();
}

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await addExtra(join(await makeRun(parent, 'first', { causes: CAUSES }), 'run.db'));
    await makeRun(parent, 'plain', { attacks: fixtureAttacks(5) });
    const folder = await openRunFolder('first', parent);
    labelRun(folder, [
      { kind: 'wording', attack: NUL_ID, value: 'backwards' },
      { kind: 'wording', attack: 21, value: 'a <b>name</b>' },
      { kind: 'way', subject: causeSha256(PHRASE), value: 'the phrase' },
    ]);
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

/** The attack of the fixture with a NUL in it; the ids of sft's evaluation come first. */
const NUL_ID = 20 + 40 + 1 + HOSTILE.findIndex(({ text }) => text.includes('\0'));
const FIRST_TEXT = fixtureAttacks(1)[0]?.text ?? '';
const ALL_TEXTS = [...fixtureAttacks(20), ...fixtureAttacks(), ...HOSTILE].map(({ text }) => text);

interface Row {
  readonly id: number;
  readonly text: { readonly parts: readonly string[] };
}
interface Page {
  readonly attacks: readonly Row[];
  readonly next: number | null;
}

/** All rows of a query, over as many pages as it takes. */
async function rowsOf(query: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (let before = ''; ; ) {
    const page = await started.get<Page>(`/api/runs/first/attacks?${query}&show=1&before=${before}`);
    rows.push(...page.attacks);
    if (page.next === null) return rows;
    before = String(page.next);
  }
}
const idsOf = async (query: string) => (await rowsOf(query)).map(({ id }) => id);
/** Names of the extra attacks, which are printable. */
const textsOf = async (query: string) => (await rowsOf(query)).map(({ text }) => text.parts.join('')).reverse();
/** As the page shows a text. */
const printable = (text: string) => toParts(text).join('');
const send = (path: string) => started.send({ path, headers: { cookie: started.cookie } });

interface Topics {
  readonly wordings: readonly { readonly value: string; readonly name: readonly string[] }[];
  readonly causes: readonly {
    readonly subject: string;
    readonly successes: number;
    readonly name: readonly string[] | null;
    readonly cause: { readonly characters: number; readonly parts?: readonly string[] };
  }[];
  readonly categories: readonly { readonly name: string }[];
}

describe('topics', () => {
  it('are the names of readers, causes that stay hidden, and categories that unsafe verdicts name', async () => {
    const { text } = await send('/api/runs/first/topics');
    expect(text).not.toMatch(/hidden phrase|kindness/);
    const { wordings, causes, categories } = await started.get<Topics>('/api/runs/first/topics?show=1');
    expect(wordings.map(({ value }) => value)).toEqual(['a <b>name</b>', 'backwards']);
    expect(causes.map(({ cause }) => cause.parts)).toEqual([[PHRASE], [ECHO], [KINDNESS]]);
    expect(causes.map(({ name, successes }) => [name, successes])).toEqual([
      [['the phrase'], 15],
      [null, 8],
      [null, 2],
    ]);
    expect(categories).toEqual([
      { name: 'violent-crimes', title: 'Violent crimes' },
      { name: 'hate', title: 'Hate' },
    ]);
  });

  it('of a run without any are none, and need the session', async () => {
    expect(await started.get('/api/runs/plain/topics')).toEqual({
      ...{ wordings: [], groups: [], causes: [], categories: [] },
    });
    expect((await started.send({ path: '/api/runs/plain/topics' })).status).toBe(401);
    expect((await send('/api/runs/plain/topics?x=1')).status).toBe(400);
  });
});

describe('attacks by topic', () => {
  it('are, of a cause, those whose way the finder says it is', async () => {
    const { causes } = await started.get<Topics>('/api/runs/first/topics');
    const known = CAUSES.ways.map(({ cause, example, isEcho, successes }, i) => {
      const variants = i === 2 ? ['counted kindness'] : [];
      return { sha256: causeSha256(cause), cause, variants, example, isEcho, stages: [], successes };
    });
    const wayOf = createCauseFinder(known);
    const all = [...ALL_TEXTS, ...NOTED.map(([text]) => text), ...HOLDING];
    for (const { subject } of causes) {
      const expected = all.flatMap((text, i) => (wayOf(text)?.sha256 === subject ? [i + 1] : [])).reverse();
      expect(expected.length).toBeGreaterThan(1);
      expect(await idsOf(`cause=${subject}&limit=7`)).toEqual(expected);
    }
    const [phrase, echo, kindness] = causes.map(({ subject }) => subject);
    expect(await idsOf(`cause=${phrase}&stage=${EXTRA}`)).toEqual([74, 73]);
    expect(await idsOf(`cause=${echo}`)).toEqual([21, 1]);
    expect(await idsOf(`cause=${kindness}`)).toEqual([77, 76]);
    expect(await idsOf(`cause=${phrase}&outcome=failure&stage=evaluate:gflownet`)).toHaveLength(16);
  });

  it('are, of a named wording, all that have a labelled text, wherever it is', async () => {
    expect(await idsOf(`wording=${encodeURIComponent('a <b>name</b>')}`)).toEqual([21, 1]);
    expect(await idsOf('wording=backwards')).toEqual([NUL_ID]);
    expect(await idsOf('wording=backwards&outcome=failure')).toEqual([]);
    expect(await idsOf('wording=nobody')).toEqual([]);
    const { labelsPath } = await openRunFolder('first', started.parent);
    const label = { kind: 'wording', subject: attackKey(FIRST_TEXT) } as const;
    // The row where the reader saw it has another text now, or nobody knows the row.
    addLabels(labelsPath, [{ ...label, value: 'moved', attack: 2 }]);
    expect(await idsOf('wording=moved')).toEqual([21, 1]);
    addLabels(labelsPath, [{ ...label, value: 'placeless' }]);
    expect(await idsOf('wording=placeless')).toEqual([21, 1]);
    const echo = causeSha256(ECHO);
    expect(await idsOf(`wording=placeless&cause=${echo}`)).toEqual([21, 1]);
    expect(await idsOf(`wording=backwards&cause=${echo}`)).toEqual([]);
    addLabels(labelsPath, [{ ...label, value: null }]);
    expect(await idsOf('wording=placeless')).toEqual([]);
    addLabels(labelsPath, [{ ...label, value: 'a <b>name</b>', attack: 21 }]);
  });

  it('are, of a category, those with an unsafe answer for which a judge names it', async () => {
    expect(await textsOf('category=hate&limit=1')).toEqual(['noted once', 'noted twice', 'noted by the trainer']);
    expect(await textsOf('category=hate&judge=other')).toEqual(['noted once', 'noted twice']);
    expect(await textsOf('category=violent-crimes')).toEqual(['noted twice']);
    expect(await textsOf('category=sex-crimes')).toEqual([]);
    expect(await textsOf('category=hate&search=twice')).toEqual(['noted twice']);
    expect(await textsOf('category=hate&judge=other&outcome=success&limit=1')).toEqual(['noted once', 'noted twice']);
    expect(await textsOf('category=hate&judge=other&outcome=failure')).toEqual([]);
    const { responses } = await started.get<{ responses: { verdicts: { categories: string[] }[] }[] }>(
      `/api/runs/first/attacks/${ALL_TEXTS.length + 2}`,
    );
    expect(responses[0]?.verdicts.map(({ categories }) => categories)).toEqual([['Hate', 'Violent crimes']]);
  });

  it('of one judge are scored by its own verdicts on answers as they are', async () => {
    const by = (query: string) => textsOf(`judge=other&stage=${EXTRA}&${query}`);
    expect(await by('outcome=success&limit=2')).toEqual([
      ...['noted once', 'noted twice', 'noted by the trainer', 'noted while masked', 'noted in prose'],
    ]);
    expect(await by('outcome=failure')).toEqual(['noted as safe']);
    expect(await by('outcome=unscored')).toEqual(['not scored', ...HOLDING.map(printable)]);
    expect(await textsOf('judge=other&outcome=unscored&stage=evaluate:gflownet')).toEqual([]);
  });

  it.each(['cause=abc', 'category=nothing', 'category=', `wording=${'x'.repeat(201)}`, 'wording=a&wording=b'])(
    '%s: a bad topic is refused, an empty one is none',
    async (query) => {
      expect((await send(`/api/runs/first/attacks?${query}`)).status).toBe(query === 'category=' ? 200 : 400);
    },
  );

  it('are none for a cause that the run does not have', async () => {
    const page = await started.get(`/api/runs/first/attacks?cause=${'0'.repeat(64)}`);
    expect(page).toEqual({ attacks: [], next: null, isFull: true });
  });
});

describe.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)('on a %s', (name, options) => {
  it('are chosen by names and numbers, with causes hidden until asked for', async () => {
    const { page, complaints } = await openPage(browser, started, options, '#/run/first');
    await page.getByText(/^Page 1: 50 attacks/).waitFor();
    const filters = page.getByRole('search', { name: 'Attacks' });
    const wayChoice = filters.getByRole('combobox', { name: 'Way', exact: true });
    await wayChoice.waitFor(); // it comes after the page
    expect(await wayChoice.locator('option').allInnerTexts()).toEqual([
      'any',
      '1: the phrase',
      '2: 8 successes',
      '3: 2 successes',
    ]);
    await wayChoice.selectOption('2: 8 successes');
    await page.getByText('Page 1: 2 attacks.').waitFor();
    await filters.getByRole('combobox', { name: 'Named wording' }).selectOption('backwards');
    await page.getByText('No attack matches.').waitFor();
    await wayChoice.selectOption('any');
    await page.getByText('Page 1: 1 attacks.').waitFor();
    await filters.getByRole('combobox', { name: 'Named wording' }).selectOption('any');
    await filters.getByRole('combobox', { name: 'Category' }).selectOption('Violent crimes');
    await page.getByText('Page 1: 1 attacks.').waitFor();
    await page.locator('.attacks summary', { hasText: '1 answer' }).click();
    await page.getByText('other: 0.90 (Hate, Violent crimes)').waitFor();
    expect(await page.content()).not.toMatch(/hidden phrase|kindness/);
    await page.locator('summary', { hasText: 'Ways by their causes' }).press('Enter');
    await page.getByRole('button', { name: 'Show cause of way 3' }).press('Enter');
    await page.getByText(KINDNESS, { exact: true }).waitFor();
    expect(await page.locator('.veil.shown').count()).toBe(1);
    expect(await page.locator('main b').count()).toBe(0);
    expect(await violations(page)).toEqual([]);
    expect(await scrollsSideways(page)).toBe(false);
    const folder = process.env.FLOODGATE_SCREENSHOTS;
    if (folder !== undefined) {
      await page.evaluate("document.querySelector('#attacks-title').scrollIntoView({ behavior: 'instant' })");
      await page.screenshot({ path: join(folder, `view-topics-${name.replace(', ', '-')}.png`) });
    }
    expect(complaints).toEqual([]);
  });

  it('are not offered by a run without any', async () => {
    const { page, complaints } = await openPage(browser, started, options, '#/run/plain');
    await page.getByText(/^Page 1: 25 attacks/).waitFor();
    await page.waitForLoadState('networkidle');
    expect(await page.getByRole('search').getByRole('combobox').count()).toBe(4);
    expect(complaints).toEqual([]);
  });
});
