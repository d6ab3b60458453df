import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { createRemoteTarget } from '../../src/targets/remote-target.ts';
import type { Target, TargetAnswer, TargetRequest } from '../../src/targets/target.ts';
import type { OpenTarget } from '../../src/targets/target-kind.ts';
import { type BudgetCaps, createBudget } from '../../src/trial/budget.ts';
import type { CallLog } from '../../src/trial/call-log.ts';
import { createCallMeter } from '../../src/trial/call-meter.ts';
import { identityOf, keepAnswers } from '../../src/trial/kept-answers.ts';
import { openFrom } from '../targets/open-target.ts';
import { type Fault, openAiAnswers, sendJson, startTestServer, type TestServer } from '../targets/openai-server.ts';

const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 };
const ask = { responses: 2, decode };
const requestsFor = (...attacks: string[]): TargetRequest[] =>
  attacks.map((attack, i) => ({ attack, streamName: ['test', i] }));
const kindsOf = (answers: readonly (readonly TargetAnswer[])[]) => answers.map((each) => each.map(({ kind }) => kind));

let folder: string;
let server: TestServer;
let opened: OpenTarget;

/** The target with the log in `folder`, as a process opens it. */
function keptTarget(changes: { caps?: BudgetCaps; reads?: boolean; target?: Target; identity?: string } = {}) {
  const { caps = {}, reads = true, target = opened.target, identity = 'm' } = changes;
  const log = openCallLog(join(folder, 'calls.db'));
  const meter = createCallMeter({ budget: createBudget(caps, log), prices: undefined });
  return { log, meter, target: keepAnswers(target, { identity, log, meter, reads }) };
}

/** The log, whose disk is full after so many answers. */
function breakingAfter(answers: number, log: CallLog): CallLog {
  let left = answers;
  const keep: CallLog['keep'] = (...kept) => {
    if (left-- === 0) throw new FloodgateError('store', 'the disk is full');
    log.keep(...kept);
  };
  return Object.create(log, { keep: { value: keep } }) as CallLog;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-kept-'));
  server = await startTestServer(openAiAnswers({ n: 'refused', reply: (prompt) => `${prompt} ${server.seen.length}` }));
  const config = { kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', concurrency: 2, retries: 0 };
  opened = await openFrom(config);
  await opened.target.ask(requestsFor('warm'), ask); // the server refuses n > 1: that is known from now on
  server.seen.length = 0;
});
afterEach(async () => {
  await opened.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('kept answers', () => {
  it('are written while others are under way, and only the missing ones are asked for', async () => {
    const release: (() => void)[] = [];
    server.faults.push(...Array.from({ length: 3 }, () => () => 'answer'));
    // The fourth call hangs until the test lets it go.
    server.faults.push((response) => void release.push(() => sendJson(response, {}, 503)));
    const first = keptTarget();
    const stopped = new AbortController();
    const going = first.target.ask(requestsFor('a', 'b', 'c'), { ...ask, signal: stopped.signal });
    while (release.length === 0 || first.log.spent.targetCalls < 5)
      await new Promise((resolve) => setTimeout(resolve, 5));
    // A second process reads what the first has written so far: all but the one that hangs.
    expect(openCallLog(join(folder, 'calls.db')).spent.targetCalls).toBe(5);
    stopped.abort();
    await expect(going).rejects.toMatchObject({ code: 'interrupted' });
    release[0]?.();

    server.seen.length = 0;
    const second = keptTarget();
    const answers = await second.target.ask(requestsFor('a', 'b', 'c'), ask);
    expect(kindsOf(answers)).toEqual([
      ['text', 'text'],
      ['text', 'text'],
      ['text', 'text'],
    ]);
    expect(server.seen).toHaveLength(1);
    expect(second.meter.counts).toMatchObject({ found: 5, begun: 1, underWay: 0 });
    expect(second.log.spent.targetCalls).toBe(6);
    expect(await keptTarget().target.ask(requestsFor('a', 'b', 'c'), ask)).toEqual(answers);
  });

  it('are found for the same draw alone: another stream, attack, setting or target is asked', async () => {
    const { target, meter } = keptTarget();
    const [request] = requestsFor('a') as [TargetRequest];
    await target.ask([request], ask);
    const begun = async (work: () => Promise<unknown>) => {
      const before = meter.counts.begun;
      await work();
      return meter.counts.begun - before;
    };
    expect(await begun(() => target.ask([request], ask))).toBe(0);
    expect(await begun(() => target.ask([request], { ...ask, responses: 3 }))).toBe(1);
    expect(await begun(() => target.ask([{ ...request, streamName: ['test', 1] }], ask))).toBe(2);
    expect(await begun(() => target.ask([{ ...request, attack: 'A' }], ask))).toBe(2);
    expect(await begun(() => target.ask([request], { ...ask, decode: { ...decode, temperature: 0.5 } }))).toBe(2);
    const other = keptTarget({ identity: 'other' });
    await other.target.ask([request], ask);
    expect(other.meter.counts).toMatchObject({ found: 0, begun: 2 });
  });

  it('leave out failed ones, which are paid for and asked again', async () => {
    server.faults.push((response) => sendJson(response, { choices: [] }));
    const first = keptTarget();
    const [answers = []] = await first.target.ask(requestsFor('a'), ask);
    expect(answers.map(({ kind }) => kind).sort()).toEqual(['failed', 'text']);
    expect(first.log.spent.targetCalls).toBe(2);
    const second = keptTarget();
    expect(kindsOf(await second.target.ask(requestsFor('a'), ask))).toEqual([['text', 'text']]);
    expect(second.meter.counts).toMatchObject({ found: 1, begun: 1 });
    expect(second.log.spent.targetCalls).toBe(3);
  });

  it('are asked for again where they are not read, and replaced', async () => {
    const before = await keptTarget().target.ask(requestsFor('a'), ask);
    const again = keptTarget({ reads: false });
    const after = await again.target.ask(requestsFor('a'), ask);
    expect(again.meter.counts).toMatchObject({ found: 0, begun: 2 });
    expect(after).not.toEqual(before);
    expect(again.log.spent.targetCalls).toBe(4);
    expect(await keptTarget().target.ask(requestsFor('a'), ask)).toEqual(after);
  });

  it('of one call are kept all or none: a call that is repeated asks for all', async () => {
    const brought: TargetAnswer[] = ['one', 'two'].map((text) => {
      return { kind: 'text', text, truncated: false, usage: { calls: 1, tokens: 1 } };
    });
    const target = createRemoteTarget({
      name: 'own',
      answer: (_, { limiter, signal, arrivedTogether }) =>
        limiter.run(async () => arrivedTogether(brought), signal, brought.length),
      release: async () => undefined,
    });
    const log = openCallLog(join(folder, 'calls.db'));
    const meter = createCallMeter({ budget: createBudget({}, log), prices: undefined });
    const full = keepAnswers(target, { identity: 'm', log: breakingAfter(1, log), meter, reads: true });
    await expect(full.ask(requestsFor('a'), ask)).rejects.toThrow('the disk is full');
    expect([log.size, log.spent.targetCalls, openCallLog(join(folder, 'calls.db')).size]).toEqual([0, 0, 0]);
    expect(log.unanswered.targetCalls, 'both were paid, and neither is kept').toBe(2);
    await keptTarget({ target }).target.ask(requestsFor('a'), ask);
    expect([log.size, openCallLog(join(folder, 'calls.db')).spent.targetCalls]).toEqual([2, 2]);
    await target.close();
  });

  it.each([0, 1])(
    'of a target that shows no single calls are kept all or none: the disk is full after %i',
    async (kept) => {
      const text = { kind: 'text', text: 'one', truncated: false, usage: { calls: 1, tokens: 1 } } as const;
      const target: Target = { name: 'own', ask: async () => [[text, text]], close: async () => undefined };
      const { log } = keptTarget({ target });
      const meter = createCallMeter({ budget: createBudget({}, log), prices: undefined });
      const broken = keepAnswers(target, { identity: 'm', log: breakingAfter(kept, log), meter, reads: true });
      await expect(broken.ask(requestsFor('a'), ask)).rejects.toThrow('the disk is full');
      expect([log.size, log.spent.targetCalls, log.unanswered.targetCalls]).toEqual([0, 0, 2]);
    },
  );

  it('keep texts as they are: NUL, lone surrogates, everything', async () => {
    const texts = ['\0 a\0', '\ud800 b', 'c\u2028\u{1f600}'];
    let next = 0;
    const target: Target = {
      name: 'own',
      ask: async (requests) =>
        requests.map(() => [
          { kind: 'text', text: texts[next++] as string, truncated: false, usage: { calls: 1, tokens: 1 } },
        ]),
      close: async () => undefined,
    };
    const one = { responses: 1, decode };
    const before = await keptTarget({ target }).target.ask(requestsFor('\0', '\udfff', 'x'), one);
    expect(next).toBe(3);
    expect(await keptTarget({ target }).target.ask(requestsFor('\0', '\udfff', 'x'), one)).toEqual(before);
    expect(next).toBe(3);
  });
});

describe('calls that were begun and not answered', () => {
  const unanswered = () => {
    const log = openCallLog(join(folder, 'calls.db'));
    const { targetCalls } = log.unanswered;
    log.close();
    return targetCalls;
  };

  it('are counted while they are under way, and stay counted when an abort breaks them off', async () => {
    server.faults.push(() => 'answer', ...Array.from({ length: 2 }, () => () => 'hang'));
    const stopped = new AbortController();
    const { target, log } = keptTarget();
    const going = target.ask(requestsFor('a', 'b', 'c'), { ...ask, signal: stopped.signal });
    while (server.seen.length < 3 || log.spent.targetCalls < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(unanswered(), 'two at once: the other three wait for room, and were never sent').toBe(2);
    stopped.abort();
    await expect(going).rejects.toMatchObject({ code: 'interrupted' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(unanswered()).toBe(2);
    await keptTarget().target.ask(requestsFor('a', 'b', 'c'), ask);
    expect(unanswered()).toBe(2);
    log.forgetUnanswered();
    expect(unanswered()).toBe(0);
  });

  it('are none where a server failed, refused the form of a request, or the budget held calls back', async () => {
    server.faults.push((response) => sendJson(response, { error: 'down' }, 503));
    await keptTarget().target.ask(requestsFor('a', 'please refuse', 'x'.repeat(40)), ask);
    const fresh = await openFrom({ kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', retries: 0 });
    await keptTarget({ target: fresh.target }).target.ask(requestsFor('b', 'c'), ask); // finds out that n must be 1
    await fresh.close();
    const capped = keptTarget({ caps: { targetCalls: 10 } }).target.ask(requestsFor('d', 'e', 'f'), ask);
    await expect(capped).rejects.toMatchObject({ name: 'BudgetSpent' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(unanswered()).toBe(0);
  });

  it('are all calls of a target that shows none alone', async () => {
    const stopped = new AbortController();
    const target: Target = {
      name: 'own',
      ask: () => new Promise((_, reject) => stopped.signal.addEventListener('abort', () => reject(new Error('stop')))),
      close: async () => undefined,
    };
    const going = keptTarget({ target }).target.ask(requestsFor('a', 'b'), { ...ask, signal: stopped.signal });
    await new Promise((resolve) => setImmediate(resolve));
    stopped.abort();
    await expect(going).rejects.toThrow('stop');
    expect(unanswered()).toBe(4);
  });
});

describe('a budget', () => {
  it('begins no call above the cap, keeps the answers of those under way, and continues with a higher cap', async () => {
    const first = keptTarget({ caps: { targetCalls: 5 } });
    const attacks = ['a', 'b', 'c', 'd'];
    await expect(first.target.ask(requestsFor(...attacks), ask)).rejects.toMatchObject({
      code: 'interrupted',
      message: 'the budget is spent: 5 of 5 target calls; every answer is kept',
      option: '--budget targetCalls=10',
    });
    expect(server.seen).toHaveLength(5);
    expect(first.log.spent.targetCalls).toBe(5);
    const second = keptTarget({ caps: { targetCalls: 8 } });
    expect(await second.target.ask(requestsFor(...attacks), ask)).toHaveLength(4);
    expect(second.meter.counts).toMatchObject({ found: 5, begun: 3 });
    expect(server.seen).toHaveLength(8);
  });

  it('reserves the longest answer for each call under way: tokens are never above their cap', async () => {
    // Each answer has 3 tokens by the server's count, and may have 8.
    const { target, log } = keptTarget({ caps: { tokens: 20 } });
    await expect(target.ask(requestsFor('a', 'b', 'c', 'd', 'e'), ask)).rejects.toMatchObject({
      message: 'the budget is spent: 15 of 20 tokens, and the next call may take 8; every answer is kept',
    });
    expect(log.spent).toMatchObject({ targetCalls: 5, tokens: 15 });
  });

  it('of hours ends no call that is under way: its answer is kept', async () => {
    const answer = openAiAnswers();
    const slow = (ms: number): Fault => {
      return (response, seen) => void setTimeout(() => answer(response, seen), ms);
    };
    server.faults.push(slow(150), slow(600));
    const { target, log } = keptTarget({ caps: { hours: 0.1 / 3600 } });
    await expect(target.ask(requestsFor('a', 'b'), ask)).rejects.toMatchObject({
      message: expect.stringMatching(
        /^the budget is spent: 0\.000\d+ of 0\.00002778 hours; every answer is kept$/,
      ) as string,
    });
    expect(server.seen).toHaveLength(2);
    expect([log.size, log.spent.targetCalls]).toEqual([2, 2]);
  });

  it('asks a target without single calls a whole batch or nothing', async () => {
    const { isOneByOne: _no, ...whole } = opened.target;
    const { target, log } = keptTarget({ caps: { targetCalls: 5 }, target: whole });
    await target.ask(requestsFor('a', 'b'), ask);
    await expect(target.ask(requestsFor('a', 'c'), ask)).rejects.toMatchObject({ code: 'interrupted' });
    expect(log.spent.targetCalls).toBe(4);
    expect(server.seen).toHaveLength(4);
  });
});

describe('the identity of a target', () => {
  const config = { kind: 'openai', model: 'm', apiKeyEnv: 'KEY', concurrency: 8, retries: 5 };
  it('is the same for other ways to make the same calls', () => {
    const other = { model: 'm', kind: 'openai', apiKeyEnv: 'OTHER', concurrency: 1, timeoutSeconds: 9 };
    expect(identityOf(other)).toBe(identityOf(config));
  });
  it('changes with every other setting', () => {
    const others = [
      { ...config, model: 'n' },
      { ...config, systemPrompt: 'be kind' },
      { ...config, kind: 'http' },
    ];
    expect(new Set([config, ...others].map((each) => identityOf(each))).size).toBe(4);
    expect(identityOf(config, ['hash', 1])).not.toBe(identityOf(config, ['hash', 2]));
  });
});
