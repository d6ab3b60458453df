import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import type { OpenTarget } from '../../src/targets/target-kind.ts';
import { createBudget } from '../../src/trial/budget.ts';
import { BudgetStop } from '../../src/trial/budget-stop.ts';
import type { CallLog } from '../../src/trial/call-log.ts';
import { createCallMeter } from '../../src/trial/call-meter.ts';
import { keepAnswers } from '../../src/trial/kept-answers.ts';
import { openFrom } from '../targets/open-target.ts';
import { openAiAnswers, startTestServer, type TestServer } from '../targets/openai-server.ts';

let folder: string;
let server: TestServer;
let opened: OpenTarget;
let log: CallLog;

const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 };
const once = (...attacks: string[]) => attacks.map((attack) => ({ attack, streamName: ['test', attack] }));
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-stop-'));
  server = await startTestServer(openAiAnswers());
  opened = await openFrom({ kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', concurrency: 4, retries: 0 });
  log = openCallLog(join(folder, 'calls.db'));
});
afterEach(async () => {
  log.close();
  await opened.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

it('a spent budget waits for the calls of a batch that was asked earlier, and keeps their answers', async () => {
  const budget = createBudget({ judgeCalls: 1 }, log);
  const meter = createCallMeter({ budget, prices: undefined });
  const stop = new BudgetStop(new AbortController().signal, budget);
  const target = keepAnswers(opened.target, { identity: 'm', log, meter, reads: true });
  const ask = (attacks: readonly string[]) =>
    stop.heed(target.ask(once(...attacks), { responses: 1, decode, signal: stop.signal }));
  const release: (() => void)[] = [];
  const slow = openAiAnswers();
  server.faults.push((response, seen) => void release.push(() => slow(response, seen)));
  const earlier = ask(['slow']);
  while (release.length === 0) await turn();
  await ask(['b', 'c']);
  await expect(stop.heed(meter.admitJudge(2))).rejects.toMatchObject({ name: 'BudgetSpent' });
  expect(stop.spent?.message).toContain('of 1 judge calls');
  expect(stop.signal.aborted, 'a call is under way').toBe(false);
  await expect(ask(['d']), 'a call that would fit').rejects.toMatchObject({ name: 'BudgetSpent' });
  release[0]?.();
  await expect(earlier).resolves.toHaveLength(1);
  expect(stop.signal.aborted).toBe(true);
  expect([log.spent.targetCalls, log.unanswered.targetCalls]).toEqual([3, 0]);
  stop.release();
});

it('time that is up ends work without calls at once, and work with calls when they have ended', async () => {
  const budget = createBudget({ hours: 0.05 / 3600 }, log);
  const idle = new BudgetStop(new AbortController().signal, budget);
  const busy = new BudgetStop(new AbortController().signal, budget);
  let end = (): void => undefined;
  const work = busy.heed(new Promise<void>((resolve) => (end = resolve)));
  while (!idle.signal.aborted) await turn();
  await turn();
  expect(idle.spent?.message).toContain('hours');
  expect(busy.signal.aborted).toBe(false);
  end();
  await work;
  expect(busy.signal.aborted).toBe(true);
  const late = new BudgetStop(new AbortController().signal, budget);
  expect(late.signal.aborted, 'no time is left at the start').toBe(true);
});
