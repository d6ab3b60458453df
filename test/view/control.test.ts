import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Database from 'libsql';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningView, viewRuns } from '../../src/view/view-server.ts';
import { openViewedRuns } from '../../src/view/viewed-runs.ts';
import { launchBrowser } from '../report/page-browser.ts';
import { type CampaignPlace, startRunProcess } from '../stages/campaign-process.ts';
import { contentDifferences, readRunContent } from '../stages/run-content.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { builtProgram } from '../support/compiled-source.ts';

let tiny: TinyCampaign;
let place: CampaignPlace;
let view: RunningView;
let cookie: string;
let browser: Browser;

/** The page of a run, opened by the printed address. */
async function openRun(run: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(view.url);
  await page.getByRole('link', { name: run }).click();
  await page.getByRole('heading', { name: run, level: 1 }).waitFor();
  return page;
}

const base = (): string => `http://127.0.0.1:${view.port}`;

async function wish(run: string, action: string, headers: Readonly<Record<string, string>> = {}) {
  const sent = { method: 'POST', headers: { origin: base(), cookie, ...headers }, body: JSON.stringify({ action }) };
  const answer = await fetch(`${base()}/api/runs/${run}/control`, sent);
  return { status: answer.status, body: (await answer.json()) as { error?: { message: string } } };
}

interface Overview {
  readonly status: string;
  readonly progress: readonly { readonly name: string; readonly updates: number }[];
  readonly work: { readonly stage: string | null; readonly secondsLeft: number | null };
}

const overview = async (run: string): Promise<Overview> =>
  (await fetch(`${base()}/api/runs/${run}`, { headers: { cookie } })).json() as never;

const statusOf = async (run: string) => (await overview(run)).status;

async function until(test: () => Promise<boolean>): Promise<void> {
  while (!(await test())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** In the training proper: a pause in the imitation before it leaves one checkpoint more. */
const hasBegun = async (run: string): Promise<boolean> =>
  (await overview(run).catch(() => undefined))?.progress?.some(
    ({ name, updates }) => name === 'gflownet' && updates > 3,
  ) === true;

beforeAll(async () => {
  browser = await launchBrowser();
  tiny = await createTinyCampaign();
  place = {
    ...placeOfTiny(tiny, builtProgram()),
    overrides: ['attackers=[gflownet]', 'gflownet.updates=24', 'evaluation.controls=0', 'watch.everyUpdates=0'],
  };
  mkdirSync(place.runsFolder, { recursive: true });
  view = await viewRuns(await openViewedRuns([], place.runsFolder), { port: 0, cli: place.mainPath });
  const [, token] = view.url.split('#token=');
  const begun = await fetch(`${base()}/api/session`, {
    method: 'POST',
    headers: { origin: base() },
    body: JSON.stringify({ token }),
  });
  cookie = (begun.headers.get('set-cookie') ?? '').split(';')[0] as string;
});
afterAll(async () => {
  await browser?.close();
  await view?.close();
  await tiny?.remove();
});

describe('a run in the viewer', () => {
  it('pauses, resumes in a process of its own, and ends as one that was never paused', async () => {
    const whole = startRunProcess(place, 'whole');
    expect((await whole.outcome).code).toBe(0);
    const run = startRunProcess(place, 'paused');
    await until(() => hasBegun('paused'));
    expect((await wish('paused', 'resume')).body.error?.message).toBe('a process works on this run');
    expect((await wish('paused', 'pause')).status).toBe(201);
    const { code, stderr } = await run.outcome;
    expect(code).toBe(130);
    expect(stderr).toContain('stopping after the step in hand');
    expect(await statusOf('paused')).toBe('interrupted');
    expect((await wish('paused', 'resume')).status).toBe(201);
    await until(async () => (await statusOf('paused')) === 'done');
    // The report follows the last stage, and the process says so at its end.
    const log = path.join(place.runsFolder, 'paused', 'resume.log');
    await until(async () => readFileSync(log, 'utf8').includes('Report to read in a browser'));
    const [expected, got] = ['whole', 'paused'].map((name) => readRunContent(path.join(place.runsFolder, name)));
    expect(contentDifferences(expected as never, got as never)).toEqual([]);
    expect(readFileSync(log, 'utf8')).toContain('gflownet: 24/24');
    const { work } = await overview('paused');
    const db = new Database(path.join(place.runsFolder, 'paused', 'run.db'), { readonly: true });
    const [responses] = db.prepare('SELECT count(*) FROM response').raw().get() as [number];
    db.close();
    expect(responses).toBeGreaterThan(100);
    expect(work).toEqual({
      targetCalls: responses,
      newestAttack: expect.any(Number),
      money: null,
      currency: null,
      stage: null,
      secondsLeft: null,
      found: null,
    });
  });

  it('says how it goes, and stops at once, at a press in the page', async () => {
    const long = { ...place, overrides: [...place.overrides, 'gflownet.updates=4000'] };
    const run = startRunProcess(long, 'stopped');
    const work = async () => (await overview('stopped').catch(() => undefined))?.work;
    await until(async () => (await work())?.stage === 'gflownet' && (await work())?.secondsLeft !== null);
    expect((await work())?.secondsLeft).toBeGreaterThan(1);
    const page = await openRun('stopped');
    await page.getByRole('button', { name: 'Stop at once' }).click();
    await page.getByText('The process was told.').waitFor();
    const { code, stderr } = await run.outcome;
    expect(code).toBe(130);
    expect(stderr).toContain('ended at once; what was stored is kept');
    expect((await wish('stopped', 'pause')).body.error?.message).toBe('no process works on this run');
  });

  it('says why it does not resume', async () => {
    writeFileSync(path.join(place.runsFolder, 'stopped', 'config.yaml'), 'not: a config\n');
    const { status, body } = await wish('stopped', 'resume');
    expect(status).toBe(409);
    expect(body.error?.message).toMatch(/^error: .*config/);
    const page = await openRun('stopped');
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByText(body.error?.message as string).waitFor();
    expect(await page.getByRole('button', { name: 'Pause' }).count()).toBe(0);
  });

  it('obeys nobody else, and signals no process of another machine', async () => {
    expect((await wish('paused', 'pause', { cookie: '' })).status).toBe(401);
    expect((await wish('paused', 'pause', { origin: 'http://127.0.0.1:1' })).status).toBe(403);
    expect((await wish('paused', 'erase')).status).toBe(400);
    // Our own number, on another machine that has just shown life: a signal would end this test.
    const owner = { pid: process.pid, host: 'elsewhere', bootId: 'another', pidNamespace: null };
    const lock = path.join(place.runsFolder, 'stopped', 'lock');
    writeFileSync(lock, JSON.stringify({ ...owner, sinceMs: Date.now(), token: 'x' }));
    const { status, body } = await wish('stopped', 'stop');
    expect(status).toBe(409);
    expect(body.error?.message).toContain('in use by');
  });
});
