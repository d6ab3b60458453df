import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Judge, Verdict } from '../../src/judges/judge.ts';
import { openJudge } from '../../src/judges/registry.ts';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { type BudgetCaps, createBudget } from '../../src/trial/budget.ts';
import { createCallMeter } from '../../src/trial/call-meter.ts';
import { keepVerdicts } from '../../src/trial/kept-verdicts.ts';
import { openAiAnswers, sendJson, startTestServer, type TestServer } from '../targets/openai-server.ts';

let folder: string;
let server: TestServer;
let judge: Judge;

const exchangesOf = (...responses: string[]) => responses.map((response) => ({ attack: 'a', response }));
const kindsOf = (verdicts: readonly Verdict[]) => verdicts.map(({ kind }) => kind);

function keptJudge(changes: { caps?: BudgetCaps; reads?: boolean; judge?: Judge } = {}) {
  const log = openCallLog(join(folder, 'calls.db'));
  const meter = createCallMeter({ budget: createBudget(changes.caps ?? {}, log), prices: undefined });
  const kept = keepVerdicts(changes.judge ?? judge, { identity: 'rubric', log, meter, reads: changes.reads ?? true });
  return { log, judge: kept };
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-verdicts-'));
  const reply = (prompt: string) => {
    const [, id] = /has the id (\w+)/.exec(prompt) ?? [];
    return JSON.stringify({ id, verdict: prompt.includes('bomb') ? 'unsafe' : 'safe' });
  };
  server = await startTestServer(openAiAnswers({ reply }));
  const config = { kind: 'rubric', baseUrl: `${server.url}/v1`, model: 'm', concurrency: 2, retries: 0 };
  judge = await openJudge(config, { models: {} as never });
});
afterEach(async () => {
  await judge.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('kept verdicts', () => {
  it('are written one by one, and found by attack and response', async () => {
    const release: (() => void)[] = [];
    server.faults.push(
      () => 'answer',
      () => 'answer',
    );
    server.faults.push((response) => void release.push(() => sendJson(response, {}, 503)));
    const stopped = new AbortController();
    const first = keptJudge();
    const going = first.judge.score(exchangesOf('b', 'bomb', 'c', 'd'), { signal: stopped.signal });
    while (release.length === 0 || first.log.spent.judgeCalls < 3)
      await new Promise((resolve) => setTimeout(resolve, 5));
    stopped.abort();
    await expect(going).rejects.toMatchObject({ code: 'interrupted' });
    release[0]?.();
    server.seen.length = 0;
    const second = keptJudge();
    const verdicts = await second.judge.score(exchangesOf('b', 'bomb', 'c', 'd'));
    expect(verdicts.map((verdict) => (verdict.kind === 'scored' ? verdict.unsafe : null))).toEqual([0, 1, 0, 0]);
    expect(server.seen).toHaveLength(1);
    expect(second.log.spent.judgeCalls).toBe(4);
  });

  it('that never come are counted: those under way, and none of those that waited for room', async () => {
    server.faults.push(() => 'answer', ...Array.from({ length: 2 }, () => () => 'hang'));
    const stopped = new AbortController();
    const first = keptJudge();
    const going = first.judge.score(exchangesOf('b', 'bomb', 'c', 'd', 'e', 'f'), { signal: stopped.signal });
    while (server.seen.length < 3 || first.log.spent.judgeCalls < 1)
      await new Promise((resolve) => setTimeout(resolve, 5));
    expect(first.log.unanswered.judgeCalls).toBe(2);
    stopped.abort();
    await expect(going).rejects.toMatchObject({ code: 'interrupted' });
    expect(first.log.unanswered).toEqual({ targetCalls: 0, judgeCalls: 2 });
    await keptJudge().judge.score(exchangesOf('b', 'bomb', 'c', 'd', 'e', 'f'));
    expect(first.log.unanswered.judgeCalls).toBe(2);
  });

  it('serve the same exchange twice from one call, and are asked for again where they are not read', async () => {
    expect(kindsOf(await keptJudge().judge.score(exchangesOf('b', 'b', 'b')))).toEqual(['scored', 'scored', 'scored']);
    expect(server.seen).toHaveLength(1);
    await keptJudge({ reads: false }).judge.score(exchangesOf('b'));
    expect(server.seen).toHaveLength(2);
  });

  it('leave out those that could not be scored', async () => {
    server.faults.push((response) => sendJson(response, { choices: [{ message: { content: 'no idea' } }] }));
    expect(kindsOf(await keptJudge().judge.score(exchangesOf('b')))).toEqual(['unscored']);
    expect(kindsOf(await keptJudge().judge.score(exchangesOf('b')))).toEqual(['scored']);
    expect(server.seen).toHaveLength(2);
  });

  it('stop at the budget, and keep what was paid for', async () => {
    const capped = keptJudge({ caps: { judgeCalls: 3 } });
    await expect(capped.judge.score(exchangesOf('b', 'c', 'd', 'e', 'f'))).rejects.toMatchObject({
      message: 'the budget is spent: 3 of 3 judge calls; every answer is kept',
    });
    expect(server.seen).toHaveLength(3);
    await keptJudge().judge.score(exchangesOf('b', 'c', 'd', 'e', 'f'));
    expect(server.seen).toHaveLength(5);
  });

  it('of a judge that is made of judges are written in small parts, one after the other', async () => {
    const sizes: number[] = [];
    const { isConcurrent: _no, ...whole } = judge;
    const counted: Judge = {
      ...whole,
      score: (exchanges, options) => {
        sizes.push(exchanges.length);
        return judge.score(exchanges, options);
      },
    };
    const responses = Array.from({ length: 40 }, (_, i) => `r${i}`);
    expect(await keptJudge({ judge: counted }).judge.score(exchangesOf(...responses))).toHaveLength(40);
    expect(sizes).toEqual([16, 16, 8]);
  });
});
