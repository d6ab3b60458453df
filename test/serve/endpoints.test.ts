import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { renderChatIds } from '../../src/models/tokenizer/prompt-ids.ts';
import { answerBans } from '../../src/targets/local-target.ts';
import { type Served, serveTiny, TINY, testIo } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serveTiny();
});
afterAll(async () => {
  await served.close();
  expect(liveSessionLabels()).toEqual([]);
});

const MESSAGES = [{ role: 'user', content: 'tell me' }] as const;
const CHAT = { model: 'tiny', messages: [...MESSAGES], max_tokens: 16, temperature: 1.5 };
const TEXT = { model: 'tiny', prompt: 'tell me', max_tokens: 16, temperature: 1.5 };

describe('models', () => {
  it('lists the one model, and shows it by name', async () => {
    const { data } = await served.client.models.list();
    expect(data.map(({ id, object }) => ({ id, object }))).toEqual([{ id: 'tiny', object: 'model' }]);
    expect(await served.client.models.retrieve('tiny')).toMatchObject({ id: 'tiny', owned_by: 'floodgate' });
  });

  it('does not know another', async () => {
    await expect(served.client.models.retrieve('gpt-4')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
    await expect(served.client.chat.completions.create({ ...CHAT, model: 'gpt-4' })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
  });
});

describe('chat completions', () => {
  it('gives n choices with their usage and the reason of their end', async () => {
    const { choices, usage, object } = await served.client.chat.completions.create({ ...CHAT, n: 5, seed: 3 });
    expect(object).toBe('chat.completion');
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
    expect(new Set(choices.map(({ message }) => message.content)).size).toBeGreaterThan(3);
    expect(new Set(choices.map(({ finish_reason }) => finish_reason))).toEqual(new Set(['stop', 'length']));
    expect(usage?.prompt_tokens).toBe(served.model.chatPrompt(MESSAGES).ids.length);
    expect(usage?.completion_tokens).toBeGreaterThan(10);
    expect(usage?.completion_tokens).toBeLessThanOrEqual(80);
    expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0));
  });

  it('repeats a seed exactly, also while other requests run, and draws anew without one', async () => {
    const ask = async (seed?: number): Promise<string> => {
      const body = { ...CHAT, n: 3, logprobs: true, top_logprobs: 2, ...(seed === undefined ? {} : { seed }) };
      return JSON.stringify((await served.client.chat.completions.create(body)).choices);
    };
    const [first, again, other, free, freeAgain] = await Promise.all([ask(7), ask(7), ask(8), ask(), ask()]);
    expect(again).toBe(first);
    expect(await ask(7)).toBe(first);
    expect(other).not.toBe(first);
    expect(freeAgain).not.toBe(free);
  });

  it('takes the most probable tokens at temperature 0', async () => {
    const body = { ...CHAT, temperature: 0, logprobs: true, top_logprobs: 1 };
    const [choice] = (await served.client.chat.completions.create(body)).choices;
    const tokens = choice?.logprobs?.content ?? [];
    expect(tokens.length).toBeGreaterThan(0);
    for (const { token, logprob, top_logprobs } of tokens) {
      expect({ token, logprob }).toEqual({ token: top_logprobs[0]?.token, logprob: top_logprobs[0]?.logprob });
    }
  });

  it('keeps top_p to the most probable tokens', async () => {
    const body = { ...CHAT, n: 8, seed: 5, logprobs: true, top_logprobs: 1, top_p: 1e-6 };
    const { choices } = await served.client.chat.completions.create(body);
    const tokens = choices.flatMap(({ logprobs }) => logprobs?.content ?? []);
    expect(tokens.every(({ token, top_logprobs }) => token === top_logprobs[0]?.token)).toBe(true);
    const wide = await served.client.chat.completions.create({ ...body, top_p: 1 });
    const drawn = wide.choices.flatMap(({ logprobs }) => logprobs?.content ?? []);
    expect(drawn.some(({ token, top_logprobs }) => token !== top_logprobs[0]?.token)).toBe(true);
  });

  it('gives log-probs that the scorer confirms, and tokens that join to the text', async () => {
    const checkpoint = await openCheckpoint(TINY, testIo());
    if (checkpoint.kind !== 'decoder' || checkpoint.chatTemplate === undefined) throw new TypeError('no chat decoder');
    const { config, weights, tokenizer, chatTemplate } = checkpoint;
    const bans = answerBans(checkpoint);
    const scorer = await openScorer({ config, weights, contextTokens: 64, bans }, { device: 'cpu', threads: 1 });
    try {
      const body = { ...CHAT, n: 4, seed: 11, logprobs: true };
      const { choices } = await served.client.chat.completions.create(body);
      const prompt = renderChatIds(chatTemplate, tokenizer, MESSAGES);
      for (const { logprobs, message } of choices) {
        const content = logprobs?.content ?? [];
        expect(content.map(({ token }) => token).join('')).toBe(message.content);
        const ids = content.map(({ token }) => idOf(tokenizer, token));
        const [scored] = await scorer.score({ prompt, rows: [ids] }, 0);
        for (const [i, { logprob }] of content.entries()) expect(logprob).toBeCloseTo(scored?.[i] as number, 4);
      }
    } finally {
      await scorer.close();
    }
  });

  it('ends before a stop, which it leaves out', async () => {
    const whole = await served.client.chat.completions.create({ ...CHAT, seed: 21, n: 6 });
    const text = whole.choices.map(({ message }) => message.content ?? '').find((one) => one.length > 6) as string;
    const stop = text.slice(3, 5);
    const cut = await served.client.chat.completions.create({ ...CHAT, seed: 21, n: 6, stop: [stop], logprobs: true });
    cut.choices.forEach(({ message, finish_reason, logprobs }, i) => {
      const full = whole.choices[i]?.message.content ?? '';
      const place = full.indexOf(stop);
      if (place >= 0) expect(finish_reason).toBe('stop');
      expect(message.content).toBe(place < 0 ? full : full.slice(0, place));
      expect(
        logprobs?.content
          ?.map(({ token }) => token)
          .join('')
          .startsWith(message.content ?? ''),
      ).toBe(true);
    });
    expect(cut.choices.some(({ message }, i) => message.content !== whole.choices[i]?.message.content)).toBe(true);
  });

  it('streams pieces that join to the same text, log-probs and usage', async () => {
    const body = { ...CHAT, n: 3, seed: 4, logprobs: true };
    const whole = await served.client.chat.completions.create(body);
    const texts = ['', '', ''];
    const tokens: string[][] = [[], [], []];
    const reasons: (string | undefined)[] = [];
    let usage: OpenAI.CompletionUsage | null | undefined;
    let chunks = 0;
    const stream = await served.client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      chunks++;
      usage = chunk.usage ?? usage;
      for (const { index, delta, finish_reason, logprobs } of chunk.choices) {
        texts[index] += delta.content ?? '';
        tokens[index]?.push(...(logprobs?.content ?? []).map(({ token }) => token));
        if (finish_reason !== null) reasons[index] = finish_reason;
      }
    }
    expect(chunks).toBeGreaterThan(9);
    expect(texts).toEqual(whole.choices.map(({ message }) => message.content));
    expect(reasons).toEqual(whole.choices.map(({ finish_reason }) => finish_reason));
    expect(tokens).toEqual(whole.choices.map(({ logprobs }) => (logprobs?.content ?? []).map(({ token }) => token)));
    expect(usage).toEqual(whole.usage);
  });

  it('reads control tokens in messages as text, and content in parts', async () => {
    const plain = { ...CHAT, seed: 1, messages: [{ role: 'user', content: 'a<|im_end|>b' }] } as const;
    const parts = ['a<|im_', 'end|>b'].map((text) => ({ type: 'text', text }) as const);
    const ask = (messages: OpenAI.ChatCompletionMessageParam[]) =>
      served.client.chat.completions.create({ ...plain, messages });
    const [first, second] = [await ask([...plain.messages]), await ask([{ role: 'user', content: parts }])];
    expect(second.choices).toEqual(first.choices);
    const one = served.model.chatPrompt([{ role: 'user', content: 'a' }]).ids.length;
    expect(first.usage?.prompt_tokens).toBeGreaterThan(one + 3);
  });
});

describe('completions', () => {
  it('answers several prompts, n for each, in order', async () => {
    const body = { ...TEXT, prompt: ['tell me', 'go on'], n: 2, seed: 9 };
    const { choices, usage } = await served.client.completions.create(body);
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const [first, second] = ['tell me', 'go on'].map((text) => served.model.textPrompt(text).ids.length);
    expect(usage?.prompt_tokens).toBe((first as number) + (second as number));
    const again = await served.client.completions.create(body);
    expect(again.choices).toEqual(choices);
  });

  it('takes token ids, and gives the old form of log-probs', async () => {
    const ids = [...served.model.textPrompt('tell me').ids];
    const body = { ...TEXT, seed: 2, logprobs: 3 };
    const [byText] = (await served.client.completions.create(body)).choices;
    const [byIds] = (await served.client.completions.create({ ...body, prompt: ids })).choices;
    expect(byIds).toEqual(byText);
    const { tokens = [], token_logprobs = [], top_logprobs = [], text_offset = [] } = byText?.logprobs ?? {};
    expect(tokens.join('')).toBe(byText?.text);
    expect(token_logprobs.every((logProb) => logProb <= 0)).toBe(true);
    for (const [i, best] of top_logprobs.entries()) {
      const isAmongBest = Object.values(best).filter((logProb) => logProb > (token_logprobs[i] as number)).length < 3;
      expect(Object.keys(best)).toHaveLength(isAmongBest ? 3 : 4);
      expect(best[tokens[i] as string]).toBe(token_logprobs[i]);
    }
    expect(text_offset).toEqual(tokens.map((_, i) => tokens.slice(0, i).join('').length));
  });

  it('streams', async () => {
    const body = { ...TEXT, seed: 2, n: 2 };
    const texts = ['', ''];
    for await (const { choices } of await served.client.completions.create({ ...body, stream: true }))
      for (const { index, text } of choices) texts[index] += text;
    expect(texts).toEqual((await served.client.completions.create(body)).choices.map(({ text }) => text));
  });

  it('answers a long and a short prompt, each as far as the context goes', async () => {
    const prompt = ['a '.repeat(25).trim(), 'a'];
    const body = { ...TEXT, prompt, max_tokens: 60, n: 16, seed: 6, logprobs: 0 };
    const { choices } = await served.client.completions.create(body);
    const lengths = choices.map(({ logprobs }) => logprobs?.tokens?.length ?? 0);
    const [long, short] = prompt.map((text) => served.model.textPrompt(text).maxNewTokens) as [number, number];
    expect(short - long).toBeGreaterThan(20);
    expect(Math.max(...lengths.slice(0, 16))).toBeLessThanOrEqual(long);
    expect(Math.max(...lengths.slice(16))).toBeGreaterThan(long);
  });

  it('cuts an answer at the end of the context', async () => {
    const body = { ...TEXT, max_tokens: 100_000, temperature: 2, n: 64, seed: 1, logprobs: 0 };
    const { choices } = await served.client.completions.create(body);
    const room = served.model.contextTokens - served.model.textPrompt(TEXT.prompt).ids.length;
    const cut = choices.filter(({ finish_reason }) => finish_reason === 'length');
    expect(cut.length).toBeGreaterThan(0);
    expect(new Set(cut.map(({ logprobs }) => logprobs?.tokens?.length))).toEqual(new Set([room]));
  });
});

describe('requests that cannot be answered', () => {
  it.each<[string, object, object]>([
    ['a temperature below 0', { ...CHAT, temperature: -1 }, { param: 'temperature' }],
    ['no messages', { ...CHAT, messages: [] }, { param: 'messages' }],
    ['a message of nobody', { ...CHAT, messages: [{ role: 'robot', content: 'hi' }] }, { param: 'messages.0.role' }],
    ['tools', { ...CHAT, tools: [{ type: 'function' }] }, { param: 'tools', code: 'unsupported_parameter' }],
    ['JSON mode', { ...CHAT, response_format: { type: 'json_object' } }, { code: 'unsupported_parameter' }],
    ['a penalty', { ...CHAT, presence_penalty: 0.5 }, { code: 'unsupported_parameter' }],
    ['top_logprobs alone', { ...CHAT, top_logprobs: 3 }, { param: 'top_logprobs' }],
    [
      'a prompt of the whole context',
      { ...CHAT, messages: [{ role: 'user', content: 'a '.repeat(99) }] },
      {
        code: 'context_length_exceeded',
      },
    ],
  ])('%s', async (_name, body, expected) => {
    const asked = served.client.chat.completions.create(body as OpenAI.ChatCompletionCreateParamsNonStreaming);
    await expect(asked).rejects.toMatchObject({ status: 400, ...expected });
  });

  it('values that ask for nothing pass', async () => {
    const body = {
      ...CHAT,
      presence_penalty: 0,
      frequency_penalty: 0,
      tools: [],
      stop: null,
      seed: null,
      logit_bias: {},
    };
    expect((await served.client.chat.completions.create(body)).choices).toHaveLength(1);
  });

  it('a token that the vocabulary does not have', async () => {
    const asked = served.client.completions.create({ ...TEXT, prompt: [1, 999_999] });
    await expect(asked).rejects.toMatchObject({ status: 400, param: 'prompt' });
  });
});

function idOf(tokenizer: { encode(text: string, options: object): number[] }, token: string): number {
  const ids = tokenizer.encode(token, { parseSpecial: false });
  if (ids.length !== 1) throw new TypeError(`${JSON.stringify(token)} is no single token`);
  return ids[0] as number;
}
