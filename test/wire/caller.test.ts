import { describe, expect, it } from 'vitest';
import { redactSecrets } from '../../src/base/errors.ts';
import { breakAfter, createBreaker } from '../../src/wire/breaker.ts';
import { backoffMs, createCaller, DEFAULT_RETRY } from '../../src/wire/caller.ts';
import { type HttpClient, parseRetryAfter } from '../../src/wire/http-client.ts';
import { createLimiter } from '../../src/wire/limiter.ts';
import { readEnvironmentValue } from '../../src/wire/secrets.ts';
import { excerpt, WireFailure } from '../../src/wire/wire-failure.ts';

const going = new AbortController().signal;

describe('waits between attempts', () => {
  it('are drawn from 0 to an end that doubles, up to a cap', () => {
    const ends = [0, 1, 2, 3, 10].map((retry) => backoffMs(DEFAULT_RETRY, retry, undefined, 1));
    expect(ends).toEqual([500, 1000, 2000, 4000, 30_000]);
    expect(backoffMs(DEFAULT_RETRY, 3, undefined, 0)).toBe(0);
    expect(backoffMs(DEFAULT_RETRY, 3, undefined, 0.25)).toBe(1000);
  });

  it('are at least what Retry-After says, up to its cap, whatever the retry', () => {
    expect(backoffMs(DEFAULT_RETRY, 0, 7000, 0)).toBe(7000);
    expect(backoffMs(DEFAULT_RETRY, 9, 7000, 0)).toBe(7000);
    expect(backoffMs(DEFAULT_RETRY, 0, 1e9, 0)).toBe(60_000);
    expect(backoffMs(DEFAULT_RETRY, 0, 0, 1)).toBe(500);
  });

  it.each([
    ['3', 3000],
    ['0.5', 500],
    [' 10 ', 10_000],
    ['Thu, 01 Jan 1970 00:00:20 GMT', 15_000],
    ['Thu, 01 Jan 1970 00:00:01 GMT', 0],
    ['', undefined],
    ['soon', undefined],
    ['-5', undefined],
    ['1e9', undefined],
    ['99999999999999', undefined],
  ])('read Retry-After: %j', (text, expected) => {
    expect(parseRetryAfter(text, 5000)).toBe(expected);
  });
});

const POLICY = { ...DEFAULT_RETRY, baseMs: 1 };
const CALL = { method: 'GET', url: new URL('http://h/'), headers: {} };

function failing(...outcomes: (WireFailure | string)[]): HttpClient & { sent: number } {
  const client = {
    sent: 0,
    async send() {
      const outcome = outcomes[Math.min(client.sent++, outcomes.length - 1)] as WireFailure | string;
      if (typeof outcome !== 'string') throw outcome;
      return { status: 200, contentType: '', text: outcome, ms: 1 };
    },
    close: async () => undefined,
  };
  return client;
}

const passing = new WireFailure('connection', 'cut', { isTransient: true });
const lasting = new WireFailure('status', 'no', { isTransient: false, status: 400 });
const read = ({ text }: { text: string }) => text;

describe('a caller', () => {
  it('repeats what may pass as often as it may, and nothing else', async () => {
    const calling = (client: HttpClient, retries: number) =>
      createCaller({ name: 't', client, retry: { ...POLICY, retries }, breakAfter: 99 }).call(CALL, read, going);
    const twice = failing(passing, passing, 'hello');
    expect(await calling(twice, 2)).toBe('hello');
    expect(twice.sent).toBe(3);
    await expect(calling(failing(passing), 2)).rejects.toThrow('cut (after 2 retries)');
    const once = failing(lasting);
    await expect(calling(once, 5)).rejects.toBe(lasting);
    expect(once.sent).toBe(1);
  });

  it('breaks after failures in a row; an answer or a refusal between them starts the count again', async () => {
    const client = failing(passing, passing, lasting, passing, passing, 'hello', passing, passing, passing);
    const caller = createCaller({ name: 'them', client, retry: { ...POLICY, retries: 0 }, breakAfter: 3 });
    const outcomes: string[] = [];
    for (let i = 0; i < 9; i++)
      outcomes.push(await caller.call(CALL, read, going).catch((error: unknown) => (error as Error).name));
    expect(outcomes).toEqual([
      ...Array(5).fill('WireFailure'),
      'hello',
      'WireFailure',
      'WireFailure',
      'FloodgateError',
    ]);
  });

  it('ends with the signal while it waits', async () => {
    const client = failing(new WireFailure('status', 'later', { isTransient: true, retryAfterMs: 60_000 }));
    const controller = new AbortController();
    const caller = createCaller({ name: 't', client, retry: DEFAULT_RETRY, breakAfter: 9 });
    const call = caller.call(CALL, read, controller.signal);
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    expect(client.sent).toBe(1);
  });

  it('breaks only after more than a round of calls under way', () => {
    const breaker = createBreaker('t', breakAfter(8));
    for (let i = 0; i < 11; i++) breaker.failed('gone');
    expect(() => breaker.failed('gone')).toThrow(/t: 12 calls in a row failed, the last: gone/);
  });
});

describe('a limiter', () => {
  it('runs tasks in order, never more than its limit, after failures too', async () => {
    const limiter = createLimiter(2);
    const begun: number[] = [];
    let running = 0;
    let peak = 0;
    const task = (i: number) => async () => {
      begun.push(i);
      peak = Math.max(peak, ++running);
      await new Promise((resolve) => setTimeout(resolve, 2));
      running--;
      if (i % 3 === 0) throw new Error(`task ${i}`);
      return i;
    };
    const all = Array.from({ length: 9 }, (_, i) => limiter.run(task(i), going));
    const settled = await Promise.allSettled(all);
    expect(settled.map(({ status }) => status)).toEqual(begun.map((i) => (i % 3 === 0 ? 'rejected' : 'fulfilled')));
    expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(peak).toBe(2);
  });

  it('gives the place of a task to the one that waits, not to one that comes just then', async () => {
    const limiter = createLimiter(1);
    let running = 0;
    let peak = 0;
    const late: Promise<void>[] = [];
    const task = async () => {
      peak = Math.max(peak, ++running);
      await new Promise((resolve) => setTimeout(resolve, 1));
      running--;
    };
    // Comes a few microtasks after the end of its own task, whichever is the moment between two tasks.
    const comeBack = async (microtasks: number) => {
      for (let i = 0; i < microtasks; i++) await undefined;
      await limiter.run(task, going);
    };
    const first = async (microtasks: number) => {
      await task();
      late.push(comeBack(microtasks));
    };
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((microtasks) => limiter.run(() => first(microtasks), going)));
    await Promise.all(late);
    expect(peak).toBe(1);
  });

  it('begins no task after an abort', async () => {
    const limiter = createLimiter(1);
    let begun = 0;
    const controller = new AbortController();
    const task = async () => {
      begun++;
      controller.abort();
    };
    const settled = await Promise.allSettled([1, 2, 3].map(() => limiter.run(task, controller.signal)));
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(begun).toBe(1);
  });
});

describe('secrets in use', () => {
  it('are hidden in every form of an echo, and in a body before it is cut', () => {
    const value = readEnvironmentValue('API_TOKEN', 'target.headers.x', { API_TOKEN: 'Bearer "a b"/c-secret-9' });
    expect(value).toBe('Bearer "a b"/c-secret-9');
    const echoes = ['"a b"/c-secret-9', JSON.stringify(value), encodeURIComponent(value), value];
    for (const echo of echoes) expect(redactSecrets(`x ${echo} y`)).not.toMatch(/secret-9/);
    readEnvironmentValue('API_TOKEN', 'target.headers.x', { API_TOKEN: 'halfwayshowntoken' });
    expect(excerpt(`${'word '.repeat(58)}halfwayshowntoken`)).toMatch(/word \[redacte/);
  });

  it('are refused where no header can hold them, without being shown', () => {
    const env = { KEY_OF_TEST: 'two\nlines-of-key' };
    expect(() => readEnvironmentValue('KEY_OF_TEST', 'target.apiKeyEnv', env)).toThrow(
      /^target.apiKeyEnv: the environment variable KEY_OF_TEST holds characters that no header may have$/,
    );
  });
});
