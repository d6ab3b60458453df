import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import type { DecodeSettings, Target, TargetRequest } from '../../src/targets/target.ts';

export const DECODE: DecodeSettings = { temperature: 1, topP: 0.95, topK: 0, maxNewTokens: 8 };

const CONTROL = Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join('');

/** Short enough for a context of 64 tokens of one character. */
const ATTACKS = ['how are you?', 'tell me', 'go on, say it', 'tell me', 'a'];

const HOSTILE: [string, string][] = [
  ['nothing', ''],
  ['white space', ' \n\t '],
  ['control characters', `${CONTROL}\u007f\u009b`],
  ['lone surrogates', '\ud800 a \udfff'],
  ['bidi and zero width', '\u202ea\u200b\ufeff'],
  ['private-use characters', '\ue000\uf8ff'],
  ['chat markers', '<|im_end|><|im_start|>'],
];

function requestsFor(attacks: readonly string[]): TargetRequest[] {
  return attacks.map((attack, i) => ({ attack, streamName: ['test', i] }));
}

function isTargetError(error: unknown): boolean {
  return error instanceof FloodgateError && error.code === 'target';
}

/** What every target promises. `open` gives a target of the same seed each time, of several different answers. */
export function describeTargetContract(title: string, open: () => Promise<Target>): void {
  const withTarget = async (use: (target: Target) => Promise<void>): Promise<void> => {
    const target = await open();
    try {
      await use(target);
    } finally {
      await target.close();
    }
  };

  describe(`${title} keeps the target contract`, () => {
    it('has a name, answers no requests with nothing, and no responses with none', () =>
      withTarget(async (target) => {
        expect(target.name).toMatch(/\S/);
        expect(await target.respond([], 3, DECODE)).toEqual([]);
        expect(await target.respond(requestsFor(['a', 'b']), 0, DECODE)).toEqual([[], []]);
      }));

    it('gives the asked number of responses to each request, within the token limit', () =>
      withTarget(async (target) => {
        const requests = requestsFor(ATTACKS);
        const before = structuredClone(requests);
        const results = await target.respond(requests, 7, DECODE);
        expect(requests).toEqual(before);
        expect(results.map((responses) => responses.length)).toEqual(ATTACKS.map(() => 7));
        for (const { tokens, truncated } of results.flat()) {
          expect(tokens).toBeGreaterThan(0);
          expect(tokens).toBeLessThanOrEqual(DECODE.maxNewTokens);
          if (truncated) expect(tokens).toBe(DECODE.maxNewTokens);
        }
      }));

    it('draws from the stream of the request and response, so that a name gives the same text again', async () => {
      const asked = requestsFor(ATTACKS);
      let first: unknown;
      await withTarget(async (target) => {
        first = await target.respond(asked, 4, DECODE);
        expect(await target.respond(asked, 4, DECODE)).toEqual(first);
      });
      await withTarget(async (target) => expect(await target.respond(asked, 4, DECODE)).toEqual(first));
    });

    it('draws differently for another name, another seeded part of it, and each response', () =>
      withTarget(async (target) => {
        const texts = async (...streamName: (string | number)[]): Promise<string> => {
          const [responses = []] = await target.respond([{ attack: 'tell me', streamName }], 12, DECODE);
          expect(new Set(responses.map(({ text }) => text)).size).toBeGreaterThan(1);
          return JSON.stringify(responses);
        };
        const all = [await texts('a', 0), await texts('a', 1), await texts('b', 0), await texts('a')];
        expect(new Set(all).size).toBe(all.length);
      }));

    it('answers a request in a batch as it does alone, in order, and more responses begin with the fewer', () =>
      withTarget(async (target) => {
        const requests = requestsFor([...ATTACKS, ...ATTACKS, ...ATTACKS]).reverse();
        const together = await target.respond(requests, 3, DECODE);
        for (const [i, request] of requests.entries()) {
          expect(await target.respond([request], 3, DECODE)).toEqual([together[i]]);
          const [more = []] = await target.respond([request], 5, DECODE);
          expect(more.slice(0, 3)).toEqual(together[i]);
        }
      }));

    it('gives one text for all responses at temperature 0', () =>
      withTarget(async (target) => {
        const greedy = { ...DECODE, temperature: 0 };
        const [responses = []] = await target.respond(requestsFor(['tell me']), 6, greedy);
        expect(new Set(responses.map(({ text }) => text)).size).toBe(1);
      }));

    it.each(HOSTILE)('takes a hostile attack, and its neighbour answers as before: %s', (_name, attack) =>
      withTarget(async (target) => {
        const neighbour: TargetRequest = { attack: 'tell me', streamName: ['neighbour'] };
        const alone = await target.respond([neighbour], 2, DECODE);
        expect(target.rejectionOf(attack, DECODE)).toBeUndefined();
        const results = await target.respond([{ attack, streamName: ['hostile'] }, neighbour], 2, DECODE);
        expect(results[0]).toHaveLength(2);
        expect(results[1]).toEqual(alone[0]);
      }),
    );

    it('throws target for an attack that it rejects, and answers it when it does not', () =>
      withTarget(async (target) => {
        const requests = requestsFor(['a', 'a '.repeat(1_500_000)]);
        const reason = target.rejectionOf(requests[1]?.attack ?? '', DECODE);
        if (reason === undefined) expect(await target.respond(requests, 1, DECODE)).toHaveLength(2);
        else await expect(target.respond(requests, 1, DECODE)).rejects.toSatisfy(isTargetError);
        expect(await target.respond(requests.slice(0, 1), 1, DECODE)).toHaveLength(1);
      }));

    it('stops with interrupted when the signal says so, and answers again after it', () =>
      withTarget(async (target) => {
        const asked = requestsFor(['a']);
        await expect(target.respond(asked, 1, DECODE, { signal: AbortSignal.abort() })).rejects.toMatchObject({
          code: 'interrupted',
        });
        expect(await target.respond(asked, 1, DECODE)).toHaveLength(1);
      }));

    it('serves concurrent calls', () =>
      withTarget(async (target) => {
        const asked = requestsFor(ATTACKS);
        const expected = await target.respond(asked, 2, DECODE);
        const answers = await Promise.all([1, 2, 3].map(() => target.respond(asked, 2, DECODE)));
        for (const answer of answers) expect(answer).toEqual(expected);
      }));

    it('refuses to answer after close, and may be closed twice', async () => {
      const target = await open();
      const underWay = target.respond(requestsFor(['a']), 1, DECODE);
      await target.close();
      await target.close();
      expect(await underWay).toHaveLength(1);
      await expect(target.respond(requestsFor(['a']), 1, DECODE)).rejects.toSatisfy(isTargetError);
    });
  });
}
