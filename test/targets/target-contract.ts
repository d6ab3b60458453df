import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import type { AskOptions, DecodeSettings, Target, TargetAnswer, TargetRequest } from '../../src/targets/target.ts';

export const DECODE: DecodeSettings = { temperature: 1, topP: 0.95, topK: 0, maxNewTokens: 8 };

/** How the contract asks: `responses` answers under `DECODE`. */
export function asking(responses: number, changes: Partial<AskOptions> = {}): AskOptions {
  return { responses, decode: DECODE, ...changes };
}

const CONTROL = Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join('');

/** Short enough for a context of 64 tokens of one character. */
const ATTACKS = ['how are you?', 'tell me', 'go on, say it', 'tell me', 'a'];

/** Too long for any context of this suite; a target without a context may still answer it. */
const HUGE = 'a '.repeat(1_500_000);

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

/** The texts of answers that must all be texts. */
export function textsOf(answers: readonly TargetAnswer[] | undefined): string[] {
  return (answers ?? []).map((answer) => {
    if (answer.kind !== 'text') throw new TypeError(`got an answer of kind ${answer.kind}: ${answer.reason}`);
    return answer.text;
  });
}

/** An answer as its type promises it: whole numbers of usage, a reason where there is no text. */
function expectWellFormed(answer: TargetAnswer): void {
  const { calls, tokens } = answer.usage;
  for (const count of [calls, tokens]) expect(Number.isSafeInteger(count) && count >= 0, `usage ${count}`).toBe(true);
  if (answer.kind !== 'text') {
    expect(answer.reason).toMatch(/\S/);
    return;
  }
  expect(calls).toBeGreaterThan(0);
  expect(tokens).toBeGreaterThan(0);
  expect(tokens).toBeLessThanOrEqual(DECODE.maxNewTokens);
  if (answer.truncated) expect(tokens).toBe(DECODE.maxNewTokens);
}

function createUse(open: () => Promise<Target>) {
  return async (use: (target: Target) => Promise<void>): Promise<void> => {
    const target = await open();
    try {
      await use(target);
    } finally {
      await target.close();
    }
  };
}

/** Attacks with a known fate, for targets that have one; the contract asks them between others. */
export interface KnownFates {
  /** The provider refuses it. */
  readonly refused?: string;
  /** The call is made and fails for good. */
  readonly failed?: string;
  /** It cannot be asked: no call is made. */
  readonly unaskable?: string;
}

/** The promises of every target, whatever it draws its answers from. `open` gives a fresh target each time. */
export function describeTargetContract(title: string, open: () => Promise<Target>, fates: KnownFates = {}): void {
  const withTarget = createUse(open);

  describe(`${title} keeps the target contract`, () => {
    it('has a name, answers no requests with nothing, and no responses with none', () =>
      withTarget(async (target) => {
        expect(target.name).toMatch(/\S/);
        expect(await target.ask([], asking(3))).toEqual([]);
        expect(await target.ask(requestsFor(['a', 'b']), asking(0))).toEqual([[], []]);
      }));

    it('gives the asked number of texts to each request, within the token limit, and counts their usage', () =>
      withTarget(async (target) => {
        const requests = requestsFor(ATTACKS);
        const before = structuredClone(requests);
        const results = await target.ask(requests, asking(7));
        expect(requests).toEqual(before);
        expect(results.map((answers) => answers.length)).toEqual(ATTACKS.map(() => 7));
        for (const answer of results.flat()) {
          expect(answer.kind).toBe('text');
          expectWellFormed(answer);
        }
      }));

    it.each(HOSTILE)('answers a hostile attack and its neighbours: %s', (_name, attack) =>
      withTarget(async (target) => {
        const requests = requestsFor(['tell me', attack, 'a']);
        const results = await target.ask(requests, asking(2));
        expect(results.map((answers) => answers.length)).toEqual([2, 2, 2]);
        for (const answer of results.flat()) expectWellFormed(answer);
        for (const neighbour of [results[0], results[2]]) expect(textsOf(neighbour)).toHaveLength(2);
        expect(results[1]?.map(({ kind }) => kind)).not.toContain('failed');
      }),
    );

    it('answers a huge attack, or fails it with a reason and no call for each response; its neighbours are answered', () =>
      withTarget(async (target) => {
        const results = await target.ask(requestsFor(['a', HUGE, 'tell me']), asking(3));
        expect(results.map((answers) => answers.length)).toEqual([3, 3, 3]);
        for (const answer of results.flat()) expectWellFormed(answer);
        for (const neighbour of [results[0], results[2]]) expect(textsOf(neighbour)).toHaveLength(3);
        const huge = results[1] ?? [];
        expect(new Set(huge.map(({ kind }) => kind)).size).toBe(1);
        for (const { kind, usage } of huge) if (kind === 'failed') expect(usage).toEqual({ calls: 0, tokens: 0 });
        expect(await target.ask(requestsFor(['a']), asking(1))).toHaveLength(1);
      }));

    const known = Object.entries(fates) as [keyof KnownFates, string][];
    it.each(known)('answers a %s attack by its kind, in its place', (fate, attack) =>
      withTarget(async (target) => {
        const results = await target.ask(requestsFor(['tell me', attack, 'a', 'b']), asking(4));
        const kind = fate === 'refused' ? 'refused' : 'failed';
        expect(results.map((answers) => answers.map((answer) => answer.kind))).toEqual(
          ['text', kind, 'text', 'text'].map((each) => Array(4).fill(each)),
        );
        for (const answer of results.flat()) expectWellFormed(answer);
        if (fate !== 'unaskable') return;
        for (const { usage } of results[1] ?? []) expect(usage).toEqual({ calls: 0, tokens: 0 });
      }),
    );

    it('stops with interrupted when the signal says so, and answers again after it', () =>
      withTarget(async (target) => {
        const asked = requestsFor(['a']);
        const signal = AbortSignal.abort();
        await expect(target.ask(asked, asking(1, { signal }))).rejects.toMatchObject({ code: 'interrupted' });
        expect(await target.ask(asked, asking(1))).toHaveLength(1);
      }));

    it('leaves a call that is aborted on its way whole or interrupted, and answers again after it', () =>
      withTarget(async (target) => {
        const controller = new AbortController();
        const call = target.ask(requestsFor(ATTACKS), asking(4, { signal: controller.signal }));
        controller.abort();
        const [outcome] = await Promise.allSettled([call]);
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'interrupted' });
        else expect(outcome.value.map((answers) => answers.length)).toEqual(ATTACKS.map(() => 4));
        expect(textsOf((await target.ask(requestsFor(['a']), asking(1)))[0])).toHaveLength(1);
      }));

    it('serves concurrent calls, each with its own answers', () =>
      withTarget(async (target) => {
        const counts = [1, 2, 3];
        const calls = counts.map((responses) => target.ask(requestsFor(ATTACKS.slice(responses)), asking(responses)));
        for (const [i, results] of (await Promise.all(calls)).entries()) {
          const responses = counts[i] as number;
          expect(results.map((answers) => answers.length)).toEqual(ATTACKS.slice(responses).map(() => responses));
          for (const answer of results.flat()) expectWellFormed(answer);
        }
      }));

    it('finishes the call under way on close, refuses to answer after it, and may be closed twice', async () => {
      const target = await open();
      let hasAnswered = false;
      const underWay = target.ask(requestsFor(['a']), asking(1)).finally(() => {
        hasAnswered = true;
      });
      await target.close();
      await target.close();
      await new Promise(setImmediate);
      expect(hasAnswered).toBe(true);
      expect(await underWay).toHaveLength(1);
      await expect(target.ask(requestsFor(['a']), asking(1))).rejects.toSatisfy(isTargetError);
    });
  });
}

/**
 * Further promises of a target whose answers come from the named streams of `TargetRequest`. `open` gives a target of
 * the same seed each time, of several different answers.
 */
export function describeSeededTargetContract(title: string, open: () => Promise<Target>): void {
  const withTarget = createUse(open);

  describe(`${title} keeps the contract of seeded targets`, () => {
    it('draws from the stream of the request and response, so that a name gives the same text again', async () => {
      const asked = requestsFor(ATTACKS);
      let first: unknown;
      await withTarget(async (target) => {
        first = await target.ask(asked, asking(4));
        expect(await target.ask(asked, asking(4))).toEqual(first);
      });
      await withTarget(async (target) => expect(await target.ask(asked, asking(4))).toEqual(first));
    });

    it('draws differently for another name, another seeded part of it, and each response', () =>
      withTarget(async (target) => {
        const texts = async (...streamName: (string | number)[]): Promise<string> => {
          const [answers] = await target.ask([{ attack: 'tell me', streamName }], asking(12));
          expect(new Set(textsOf(answers)).size).toBeGreaterThan(1);
          return JSON.stringify(answers);
        };
        const all = [await texts('a', 0), await texts('a', 1), await texts('b', 0), await texts('a')];
        expect(new Set(all).size).toBe(all.length);
      }));

    it('answers a request in a batch as it does alone, in order, and more responses begin with the fewer', () =>
      withTarget(async (target) => {
        const requests = requestsFor([...ATTACKS, ...ATTACKS, ...ATTACKS]).reverse();
        const together = await target.ask(requests, asking(3));
        for (const [i, request] of requests.entries()) {
          expect(await target.ask([request], asking(3))).toEqual([together[i]]);
          const [more = []] = await target.ask([request], asking(5));
          expect(more.slice(0, 3)).toEqual(together[i]);
        }
      }));

    it('makes one call for each response', () =>
      withTarget(async (target) => {
        const results = await target.ask(requestsFor(ATTACKS), asking(3));
        expect(results.flat().map(({ usage }) => usage.calls)).toEqual(Array(3 * ATTACKS.length).fill(1));
      }));

    it('gives one text for all responses at temperature 0', () =>
      withTarget(async (target) => {
        const greedy = { ...DECODE, temperature: 0 };
        const [answers] = await target.ask(requestsFor(['tell me']), asking(6, { decode: greedy }));
        expect(new Set(textsOf(answers)).size).toBe(1);
      }));

    it.each([...HOSTILE, ['an attack that is far too long', HUGE] as const])(
      'takes a hostile attack, and its neighbour answers as before: %s',
      (_name, attack) =>
        withTarget(async (target) => {
          const neighbour: TargetRequest = { attack: 'tell me', streamName: ['neighbour'] };
          const alone = await target.ask([neighbour], asking(2));
          const results = await target.ask([{ attack, streamName: ['hostile'] }, neighbour], asking(2));
          expect(results[0]).toHaveLength(2);
          if (attack !== HUGE) expect(textsOf(results[0])).toHaveLength(2);
          expect(results[1]).toEqual(alone[0]);
        }),
    );

    it('gives concurrent calls the same answers', () =>
      withTarget(async (target) => {
        const asked = requestsFor(ATTACKS);
        const expected = await target.ask(asked, asking(2));
        const answers = await Promise.all([1, 2, 3].map(() => target.ask(asked, asking(2))));
        for (const answer of answers) expect(answer).toEqual(expected);
      }));
  });
}
