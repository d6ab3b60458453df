import { afterEach, describe, expect, it } from 'vitest';
import type { Generated, GenerateOptions } from '../../src/models/decoder/generator.ts';
import { openServedModel, type ServedModel } from '../../src/serve/served-model.ts';
import { type Served, serveForTest, TINY, testIo } from './served.ts';

let served: Served | undefined;
afterEach(async () => {
  await served?.close();
  served = undefined;
});

/** The tiny model with a pause after each token, and what it was asked. */
async function serveSlow(pauseMs: number) {
  const model = await openServedModel(TINY, testIo(), { id: 'tiny', threads: 1 });
  const calls: number[] = [];
  const tokens = { drawn: 0, running: 0 };
  const generate = async (options: GenerateOptions): Promise<Generated[]> => {
    calls.push(options.requests.length);
    tokens.running++;
    expect(tokens.running).toBe(1);
    const rows = options.requests.map(() => ({ tokens: [] as number[], logProbs: [], isTerminated: false }));
    const live = new Set(rows.keys());
    for (let t = 0; t < options.maxNewTokens && live.size > 0; t++) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      if (options.signal?.aborted) break;
      for (const row of live) {
        tokens.drawn++;
        if (options.requests[row]?.watch?.(40, undefined) === true) live.delete(row);
      }
    }
    tokens.running--;
    return rows;
  };
  const slow: ServedModel = { ...model, generate };
  served = await serveForTest(slow);
  return { served, calls, tokens };
}

const BODY = { model: 'tiny', messages: [{ role: 'user', content: 'go on' }] } as const;
const asked = (rest: object = {}) => ({ ...BODY, messages: [...BODY.messages], ...rest });
const settled = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a client that goes away', () => {
  it('ends what it asked for, at once, and the next request is answered', async () => {
    const { served, tokens } = await serveSlow(10);
    const gone = new AbortController();
    const first = served.client.chat.completions.create(asked({ max_tokens: 40 }), { signal: gone.signal });
    const failed = expect(first).rejects.toThrow(/abort/i);
    await settled(100);
    gone.abort();
    await failed;
    await settled(100);
    const drawn = tokens.drawn;
    expect(drawn).toBeGreaterThan(0);
    expect(drawn).toBeLessThan(30);
    await settled(100);
    expect(tokens.drawn).toBe(drawn);
    const next = await served.client.chat.completions.create(asked({ max_tokens: 2 }));
    expect(next.usage?.completion_tokens).toBe(2);
    expect(served.log.filter((line) => line.includes('the client went away'))).toHaveLength(1);
  });

  it('ends a stream in the middle', async () => {
    const { served, tokens } = await serveSlow(10);
    const stream = await served.client.chat.completions.create({ ...asked({ max_tokens: 40 }), stream: true });
    let chunks = 0;
    for await (const _chunk of stream) if (++chunks === 4) break;
    await settled(100);
    const drawn = tokens.drawn;
    expect(drawn).toBeLessThan(30);
    await settled(60);
    expect(tokens.drawn).toBe(drawn);
  });

  it('leaves the queue, and takes nobody with it', async () => {
    const { served, calls } = await serveSlow(5);
    const gone = new AbortController();
    const first = served.client.chat.completions.create(asked({ max_tokens: 30 }));
    await settled(30);
    const second = served.client.chat.completions.create(asked({ max_tokens: 30, n: 7 }), { signal: gone.signal });
    const third = served.client.chat.completions.create(asked({ max_tokens: 3, n: 3 }));
    const failed = expect(second).rejects.toThrow(/abort/i);
    await settled(30);
    gone.abort();
    await failed;
    expect((await first).usage?.completion_tokens).toBe(30);
    expect((await third).usage?.completion_tokens).toBe(9);
    expect(calls).toEqual([1, 3]);
  });
});

describe('requests that wait', () => {
  it('share a batch where their rules agree, and end with their own last token', async () => {
    const { served, calls } = await serveSlow(5);
    const first = served.client.chat.completions.create(asked({ max_tokens: 10 }));
    await settled(20);
    const long = served.client.chat.completions.create(asked({ max_tokens: 40, n: 2 }));
    const short = served.client.chat.completions.create(asked({ max_tokens: 2, n: 3 }));
    await first;
    const quick = await Promise.race([long.then(() => 'long'), short.then(() => 'short')]);
    expect(quick).toBe('short');
    await long;
    expect(calls).toEqual([1, 5]);
  });

  it('run alone with a seed, and apart from another top_p', async () => {
    const { served, calls } = await serveSlow(2);
    const first = served.client.chat.completions.create(asked({ max_tokens: 20 }));
    await settled(20);
    await Promise.all(
      [{ n: 2 }, { n: 3, seed: 1 }, { n: 4, seed: 1 }, { n: 5, top_p: 0.5 }, { n: 6, top_p: 0.5 }].map((rest) =>
        served.client.chat.completions.create(asked({ max_tokens: 2, ...rest })),
      ),
    );
    await first;
    expect(calls[0]).toBe(1);
    expect([...calls.slice(1)].sort((a, b) => a - b)).toEqual([2, 3, 4, 11]);
  });

  it('are refused when too many wait', async () => {
    const { served } = await serveSlow(20);
    const first = served.client.chat.completions.create(asked({ max_tokens: 30 }));
    await settled(40);
    const many = Array.from({ length: 5 }, () =>
      served.client.chat.completions.create(asked({ max_tokens: 1, n: 128, seed: 1 })).then(
        () => 200,
        (error: { status: number; headers: Headers }) => [error.status, error.headers.get('retry-after')],
      ),
    );
    const answers = await Promise.all(many);
    await first;
    expect(answers.filter((one) => one === 200)).toHaveLength(4);
    expect(answers.filter((one) => one !== 200)).toEqual([[429, '1']]);
  });
});

it('closing the server ends what is under way and what waits', async () => {
  const { served, tokens } = await serveSlow(10);
  const ends = [1, 2, 3].map(() =>
    served.client.chat.completions.create(asked({ max_tokens: 40, seed: 1 })).then(
      () => 'answered',
      () => 'refused',
    ),
  );
  await settled(60);
  const start = performance.now();
  await served.server.close();
  expect(performance.now() - start).toBeLessThan(1000);
  expect(await Promise.all(ends)).toEqual(['refused', 'refused', 'refused']);
  expect(tokens).toMatchObject({ running: 0 });
});

it('a model that fails is an error of the server, which goes on', async () => {
  const model = await openServedModel(TINY, testIo(), { id: 'tiny', threads: 1 });
  let fails = true;
  const generate = (options: GenerateOptions): Promise<Generated[]> =>
    fails ? Promise.reject(new TypeError('the inside of the engine')) : model.generate(options);
  served = await serveForTest({ ...model, generate });
  const failed = served.client.chat.completions.create(asked());
  await expect(failed).rejects.toMatchObject({ status: 500, type: 'server_error' });
  await expect(failed).rejects.not.toThrow(/inside of the engine/);
  expect(served.log.some((line) => line.includes('the inside of the engine'))).toBe(true);
  fails = false;
  expect((await served.client.chat.completions.create(asked({ max_tokens: 3 }))).choices).toHaveLength(1);
});
