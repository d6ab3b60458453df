import type OpenAI from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import type { Generated, GenerateOptions } from '../../src/models/decoder/generator.ts';
import { openServedModel, type ServedModel } from '../../src/serve/served-model.ts';
import { type Served, serveForTest, TINY, testIo } from './served.ts';

let served: Served | undefined;
afterEach(async () => {
  await served?.close();
  served = undefined;
});

/** A model that draws a token only when the test allows it, and what was asked of it. */
async function serveGated() {
  const model = await openServedModel(TINY, testIo(), { id: 'tiny', threads: 1 });
  const letter = model.tokenizer.encode('g')[0] as number;
  const seen = { calls: [] as number[], steps: 0, running: 0 };
  let permits = 0;
  const generate = async (options: GenerateOptions): Promise<Generated[]> => {
    seen.calls.push(options.requests.length);
    seen.running++;
    expect(seen.running).toBe(1);
    const live = new Set(options.requests.keys());
    for (let t = 0; t < options.maxNewTokens && live.size > 0; t++) {
      while (permits === 0 && !options.signal?.aborted) await sleep(2);
      if (options.signal?.aborted) break;
      permits--;
      seen.steps++;
      for (const row of [...live]) if (options.requests[row]?.watch?.(letter, undefined) === true) live.delete(row);
    }
    seen.running--;
    return options.requests.map(() => ({ tokens: [], logProbs: [], isTerminated: false }));
  };
  served = await serveForTest({ ...model, generate } satisfies ServedModel);
  const { client, log, server } = served;
  const ask = (rest: object, signal?: AbortSignal) =>
    client.chat.completions.create(
      { model: 'tiny', messages: [{ role: 'user', content: 'go on' }], ...rest } as AskBody,
      signal === undefined ? {} : { signal },
    );
  const allow = (steps: number): void => {
    permits += steps;
  };
  /** Waits until a batch of `rows` runs. */
  const running = (rows: number) => eventually(() => seen.calls.at(-1)).toBe(rows);
  /** Waits until the server knows of `count` clients that have gone. */
  const left = (count: number) => eventually(() => log.filter((line) => line.includes('went away')).length).toBe(count);
  return { client, server, seen, ask, allow, running, left };
}

type AskBody = OpenAI.ChatCompletionCreateParamsNonStreaming;

/** Polls for as long as a busy machine may take. */
const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 10_000 });
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** Time for requests to arrive that nothing can be seen of. */
const arrival = () => sleep(150);

describe('a client that goes away', () => {
  it('ends what it asked for at the next token, and the next request is answered', async () => {
    const { ask, allow, seen, running, left } = await serveGated();
    const gone = new AbortController();
    const failed = expect(ask({ max_tokens: 40 }, gone.signal)).rejects.toThrow(/abort/i);
    await running(1);
    allow(3);
    await eventually(() => seen.steps).toBe(3);
    gone.abort();
    await failed;
    await left(1);
    allow(100);
    expect((await ask({ max_tokens: 2, n: 2 })).usage?.completion_tokens).toBe(4);
    expect(seen).toEqual({ calls: [1, 2], steps: 3 + 1 + 2, running: 0 });
  });

  it('ends a stream in the middle', async () => {
    const { client, allow, seen, left } = await serveGated();
    allow(5);
    const stream = await client.chat.completions.create({
      model: 'tiny',
      messages: [{ role: 'user', content: 'go on' }],
      max_tokens: 40,
      stream: true,
    });
    let chunks = 0;
    for await (const _chunk of stream) if (++chunks === 3) break;
    await left(1);
    allow(100);
    await eventually(() => seen.running).toBe(0);
    expect(seen.steps).toBe(6);
  });

  it('leaves the queue, and takes nobody with it', async () => {
    const { ask, allow, seen, running, left } = await serveGated();
    const gone = new AbortController();
    const first = ask({ max_tokens: 30 });
    await running(1);
    const failed = expect(ask({ max_tokens: 30, n: 7 }, gone.signal)).rejects.toThrow(/abort/i);
    const third = ask({ max_tokens: 3, n: 3 });
    await arrival();
    gone.abort();
    await failed;
    await left(1);
    allow(100);
    expect((await first).usage?.completion_tokens).toBe(30);
    expect((await third).usage?.completion_tokens).toBe(9);
    expect(seen.calls).toEqual([1, 3]);
  });
});

describe('requests that wait', () => {
  it('share a batch where their rules agree, and end with their own last token', async () => {
    const { ask, allow, seen, running } = await serveGated();
    const first = ask({ max_tokens: 1 });
    await running(1);
    const long = ask({ max_tokens: 40, n: 2 });
    const short = ask({ max_tokens: 2, n: 3 });
    await arrival();
    allow(1 + 2);
    await first;
    expect((await short).usage?.completion_tokens).toBe(6);
    expect(seen.running).toBe(1);
    allow(100);
    expect((await long).usage?.completion_tokens).toBe(80);
    expect(seen.calls).toEqual([1, 5]);
  });

  it('run alone with a seed, and apart from another top_p', async () => {
    const { ask, allow, seen, running } = await serveGated();
    const first = ask({ max_tokens: 1 });
    await running(1);
    const rules = [{ n: 2 }, { n: 5, top_p: 0.5 }, { n: 6, top_p: 0.5 }, { n: 3, seed: 1 }, { n: 4, seed: 1 }];
    const others = rules.map((rest) => ask({ max_tokens: 2, ...rest }));
    await arrival();
    allow(100);
    await Promise.all([first, ...others]);
    for (const rows of [3, 4]) expect(seen.calls).toContain(rows);
    expect(seen.calls.every((rows) => [1, 2, 3, 4, 5, 6, 11].includes(rows))).toBe(true);
  });

  it('are refused when too many wait', async () => {
    const { ask, allow, running } = await serveGated();
    const first = ask({ max_tokens: 1 });
    await running(1);
    let refusals = 0;
    const many = Array.from({ length: 5 }, () =>
      ask({ max_tokens: 1, n: 128 }).then(
        () => 200,
        (error: { status: number; headers: Headers }) => {
          refusals++;
          return [error.status, error.headers.get('retry-after')];
        },
      ),
    );
    await eventually(() => refusals).toBe(1);
    allow(100);
    await first;
    const answers = await Promise.all(many);
    expect(answers.filter((one) => one === 200)).toHaveLength(4);
    expect(answers.filter((one) => one !== 200)).toEqual([[429, '1']]);
  });
});

it('closing the server ends what is under way and what waits', async () => {
  const { ask, server, seen, running } = await serveGated();
  const ends = [1, 2, 3].map(() =>
    ask({ max_tokens: 40, seed: 1 }).then(
      () => 'answered',
      () => 'refused',
    ),
  );
  await running(1);
  await arrival();
  await server.close();
  expect(await Promise.all(ends)).toEqual(['refused', 'refused', 'refused']);
  expect(seen).toEqual({ calls: [1], steps: 0, running: 0 });
});

it('a model that fails is an error of the server, which goes on', async () => {
  const model = await openServedModel(TINY, testIo(), { id: 'tiny', threads: 1 });
  const body: AskBody = { model: 'tiny', messages: [{ role: 'user', content: 'go on' }], max_tokens: 3 };
  let fails = true;
  const generate = (options: GenerateOptions): Promise<Generated[]> =>
    fails ? Promise.reject(new TypeError('the inside of the engine')) : model.generate(options);
  served = await serveForTest({ ...model, generate });
  const failed = served.client.chat.completions.create(body);
  await expect(failed).rejects.toMatchObject({ status: 500, type: 'server_error' });
  await expect(failed).rejects.not.toThrow(/inside of the engine/);
  expect(served.log.some((line) => line.includes('the inside of the engine'))).toBe(true);
  fails = false;
  expect((await served.client.chat.completions.create(body)).choices).toHaveLength(1);
});

it('a model that fails in the middle of a stream ends it with the error', async () => {
  const model = await openServedModel(TINY, testIo(), { id: 'tiny', threads: 1 });
  const letter = model.tokenizer.encode('g')[0] as number;
  const generate = async ({ requests }: GenerateOptions): Promise<Generated[]> => {
    for (let t = 0; t < 3; t++) requests[0]?.watch?.(letter, undefined);
    throw new FloodgateError('runtime', 'the engine broke');
  };
  served = await serveForTest({ ...model, generate });
  const body = { model: 'tiny', messages: [{ role: 'user', content: 'go on' }], stream: true } as const;
  let text = '';
  const read = async (): Promise<void> => {
    const stream = await served?.client.chat.completions.create({ ...body, messages: [...body.messages] });
    for await (const { choices } of stream ?? []) text += choices[0]?.delta.content ?? '';
  };
  await expect(read()).rejects.toThrow(/the engine broke/);
  expect(text).toBe('ggg');
});
