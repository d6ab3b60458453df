import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AttackRow } from '../../src/runs/store/records.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { transferStage } from '../../src/runs/store/stage-name.ts';
import { fixtureAttacks } from '../report/fixture-run.ts';
import { DESKTOP, launchBrowser, PHONE, scrollsSideways } from '../report/page-browser.ts';
import { openPage, violations } from './opened-page.ts';
import { HOSTILE, makeRun, type StartedView, startView } from './viewed.ts';

/** The first attack of each evaluation; the ids of sft's evaluation come first. */
const TEXT = fixtureAttacks(1)[0]?.text ?? '';
const NUL = HOSTILE.find(({ text }) => text.includes('\0'))?.text ?? '';
const [OF_SFT, OF_GFLOWNET, NUL_ID] = [1, 21, 20 + 40 + 1 + HOSTILE.findIndex(({ text }) => text === NUL)];
/** Names of targets are words of a config: text, never markup. */
const TARGET = '<b>tuned</b>';
const [REPEATED, TUNED] = ['reinforce', transferStage({ attacker: 'gflownet', target: TARGET })];

async function addElsewhere(path: string): Promise<void> {
  const row = (text: string, source: AttackRow['source'], unsafe: number | null): AttackRow => {
    const verdicts = [
      { judge: 'other', masked: false, unsafe },
      { judge: 'other', masked: true, unsafe: 1 },
    ];
    return {
      ids: [],
      text,
      source,
      meanUnsafe: null,
      responses: [{ text: 'No.', tokens: 1, truncated: false, verdicts }],
    };
  };
  const store = await openStore(path);
  store.beginStage(REPEATED, 1);
  const repeats = Array.from({ length: 5 }, () => row(TEXT, 'fresh', null));
  store.recordUpdate({ stage: REPEATED, update: 0, attacks: [...repeats, row(`${TEXT} `, 'fresh', 0.9)] });
  store.endStage(REPEATED, 'done');
  store.beginStage(TUNED, 1);
  store.recordUpdate({ stage: TUNED, update: 0, attacks: [row(TEXT, 'transfer', 0.25), row(NUL, 'transfer', 0.75)] });
  store.endStage(TUNED, 'done');
  store.close();
}

let started: StartedView;
let browser: Browser;
beforeAll(async () => {
  started = await startView(async (parent) => {
    await addElsewhere(join(await makeRun(parent, 'first'), 'run.db'));
  });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await started.close();
});

interface Side {
  readonly id: number;
  readonly judges: readonly { readonly judge: string; readonly meanUnsafe: number; readonly isSuccess: boolean }[];
}
interface Related {
  readonly attack: Side & { readonly words: string };
  readonly elsewhere: {
    readonly stages: readonly { readonly words: string; readonly count: number; readonly attacks: readonly Side[] }[];
    readonly isFull: boolean;
  };
  readonly neighbours: {
    readonly by: string;
    readonly stage: string;
    readonly attacks: readonly {
      readonly id: number;
      readonly likeness: number;
      readonly meanUnsafe: number;
      readonly text: { readonly characters: number; readonly parts?: readonly string[] };
    }[];
  };
}
const pathOf = (id: number | string, query = '') => `/api/runs/first/attacks/${id}/related${query}`;
const related = (id: number, query = '') => started.get<Related>(pathOf(id, query));

describe('an attack beside others', () => {
  it('has the same text in other stages and on further targets, with its outcome by each judge', async () => {
    const { attack, elsewhere } = await related(OF_GFLOWNET);
    const both = ['other', 'trainer'].map((judge) => ({ judge, meanUnsafe: 0.9, isSuccess: true }));
    expect(attack).toMatchObject({ id: OF_GFLOWNET, words: 'GFlowNet, evaluation', judges: both });
    expect(elsewhere.isFull).toBe(true);
    expect(elsewhere.stages.map(({ words, count, attacks }) => [words, count, attacks.map(({ id }) => id)])).toEqual([
      [expect.stringMatching(/, evaluation$/), 1, [OF_SFT]],
      ['REINFORCE, training', 5, [70, 69, 68]],
      [`GFlowNet on ${TARGET}`, 1, [72]],
    ]);
    expect(elsewhere.stages.map(({ attacks }) => attacks[0]?.judges)).toEqual([
      both,
      [],
      [{ judge: 'other', meanUnsafe: 0.25, isSuccess: false }],
    ]);
  });

  it('is found by its whole text, a NUL in it too; its own stage is not elsewhere', async () => {
    const stagesOf = async (id: number) => (await related(id)).elsewhere.stages.map(({ words }) => words);
    expect(await stagesOf(NUL_ID)).toEqual([`GFlowNet on ${TARGET}`]);
    expect(await stagesOf(71)).toEqual([]);
    expect(await stagesOf(66)).toHaveLength(3);
    expect(await stagesOf(22)).toEqual([expect.stringMatching(/, evaluation$/)]);
  });

  it('has the successes of its attacker’s evaluation that share the most words, by the counting judge', async () => {
    const { neighbours } = await related(OF_GFLOWNET);
    expect(neighbours).toMatchObject({ by: 'words', stage: 'evaluate:gflownet', judge: 'other' });
    // Five of seven words: the others of its kind, the first ones of eight.
    expect(neighbours.attacks.map(({ id }) => id)).toEqual([26, 31, 36, 41, 46]);
    for (const { likeness, meanUnsafe } of neighbours.attacks) {
      expect(likeness).toBeCloseTo(5 / 7, 12);
      expect(meanUnsafe).toBeCloseTo(0.9, 12);
    }
    // The attacker of a tuned target's row is that of its attacks.
    expect((await related(72)).neighbours.attacks.map(({ id }) => id)).toEqual([26, 31, 36, 41, 46]);
    // Kinds 3 and 4 never succeed; of equals the first come first.
    expect((await related(24)).neighbours.attacks.map(({ id }) => id)).toEqual([21, 22, 23, 26, 27]);
    expect((await related(66)).neighbours).toMatchObject({ stage: 'evaluate:reinforce', attacks: [] });
  });

  it('leaves without texts unless the request asks for them', async () => {
    const hidden = await started.send({ path: pathOf(OF_GFLOWNET), headers: { cookie: started.cookie } });
    expect(hidden.text).not.toMatch(/hidden phrase|reply/);
    const shown = await related(OF_GFLOWNET, '?show=1');
    expect(shown.neighbours.attacks[0]?.text.parts).toEqual([fixtureAttacks()[5]?.text]);
  });

  it.each([
    [pathOf(999), 404],
    [pathOf('x'), 404],
    [pathOf(1, '?x=1'), 400],
    [`${pathOf(1)}/more`, 404],
    ['/api/runs/first/attacks/1/other', 404],
  ])('%s is refused with %d', async (path, status) => {
    expect((await started.send({ path, headers: { cookie: started.cookie } })).status).toBe(status);
    expect((await started.send({ path })).status).toBe(401);
  });
});

describe.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' }],
] as const)('on a %s', (name, options) => {
  it('an attack opens beside others, each hidden and with a link to a page of its own', async () => {
    const { page, complaints } = await openPage(browser, started, options, `#/run/first/attack/${OF_GFLOWNET}`);
    await page.getByRole('heading', { level: 1, name: `Attack ${OF_GFLOWNET}` }).waitFor();
    const fold = page.locator('details', { has: page.getByLabel(`Beside attack ${OF_GFLOWNET}`) });
    await page.getByLabel(`Beside attack ${OF_GFLOWNET}`).press('Enter');
    const sides = fold.locator('.side');
    await sides.nth(3).waitFor();
    expect(await sides.first().innerText()).toMatch(/Here: GFlowNet, evaluation\s+attack 21\s+other: success, 0\.90/);
    expect(await sides.nth(2).innerText()).toMatch(/REINFORCE, training[\s\S]*2 more of this stage/);
    expect(await sides.last().innerText()).toMatch(/GFlowNet on <b>tuned<\/b>\s+attack 72\s+other: no success, 0\.25/);
    expect(await page.locator('main b').count()).toBe(0);
    expect(await page.content()).not.toMatch(/hidden phrase|No\./);
    await sides.last().locator('summary').click();
    await sides.last().getByRole('button', { name: 'Show answer 1 to attack 72' }).click();
    await sides.last().getByText('No.', { exact: true }).waitFor();
    await fold.getByRole('button', { name: 'Show neighbour 26' }).click();
    await fold.getByText(fixtureAttacks()[5]?.text ?? '', { exact: true }).waitFor();
    expect(await fold.getByText(/71% of words shared, other: success, 0\.90/).count()).toBe(5);
    expect(await violations(page)).toEqual([]);
    expect(await scrollsSideways(page)).toBe(false);
    const folder = process.env.FLOODGATE_SCREENSHOTS;
    if (folder !== undefined)
      await page.screenshot({ path: join(folder, `view-related-${name.replace(', ', '-')}.png`), fullPage: true });
    await fold.getByRole('link', { name: 'attack 72', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'Attack 72' }).waitFor();
    expect(await page.locator('.veil.shown').count()).toBe(0);
    await page.getByRole('link', { name: 'first', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'first' }).waitFor();
    expect(complaints).toEqual([]);
  });
});
