import { describe, expect, it } from 'vitest';
import type { Judge, ScoreOptions } from '../../src/judges/judge.ts';
import type { AskOptions, Target, TargetAnswer } from '../../src/targets/target.ts';
import { countAnswers, countVerdicts, createLedger, NO_CALLS } from '../../src/trial/ledger.ts';

describe('a ledger', () => {
  it('adds up what it is told, each count for itself, and starts at nothing', () => {
    const ledger = createLedger();
    expect(ledger.calls).toEqual({ targetCalls: 0, judgeCalls: 0, tokens: 0 });
    ledger.add({ targetCalls: 2, tokens: 7 });
    ledger.add({ judgeCalls: 3 });
    ledger.add({ targetCalls: 1, judgeCalls: 1, tokens: 1 });
    expect(ledger.calls).toEqual({ targetCalls: 3, judgeCalls: 4, tokens: 8 });
  });

  it('gives the calls once, and counts on from nothing', () => {
    const ledger = createLedger();
    ledger.add({ targetCalls: 2 });
    expect(ledger.take()).toEqual({ ...NO_CALLS, targetCalls: 2 });
    expect(ledger.take()).toEqual(NO_CALLS);
    ledger.add({ judgeCalls: 5 });
    expect(ledger.calls).toEqual({ ...NO_CALLS, judgeCalls: 5 });
  });

  it('goes on from the calls of an interrupted work, and leaves its own start alone', () => {
    const from = { targetCalls: 10, judgeCalls: 20, tokens: 30 };
    const ledger = createLedger(from);
    ledger.add({ targetCalls: 1 });
    expect(ledger.take()).toEqual({ targetCalls: 11, judgeCalls: 20, tokens: 30 });
    expect(from).toEqual({ targetCalls: 10, judgeCalls: 20, tokens: 30 });
    expect(ledger.take()).toEqual(NO_CALLS);
    expect(createLedger().calls).toEqual(NO_CALLS);
  });
});

describe('a counted target', () => {
  it('passes everything through, and counts the usage of every answer, failed and refused ones too', async () => {
    const answers: TargetAnswer[][] = [
      [
        { kind: 'text', text: 'a', truncated: false, usage: { calls: 1, tokens: 4 } },
        { kind: 'refused', reason: 'filter', usage: { calls: 1, tokens: 0 } },
      ],
      [
        { kind: 'failed', reason: 'after 3 tries', usage: { calls: 3, tokens: 2 } },
        { kind: 'failed', reason: 'too long', usage: { calls: 0, tokens: 0 } },
      ],
    ];
    const seen: unknown[] = [];
    let closed = 0;
    const target: Target = {
      name: 'fake',
      ask: async (...all) => {
        seen.push(all);
        return answers;
      },
      close: async () => void closed++,
    };
    const ledger = createLedger();
    const counted = countAnswers(target, ledger);
    expect(counted.name).toBe('fake');
    const requests = [{ attack: 'a', streamName: ['x'] }];
    const options: AskOptions = {
      responses: 2,
      decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 4 },
      signal: new AbortController().signal,
    };
    expect(await counted.ask(requests, options)).toBe(answers);
    expect(seen).toEqual([[requests, options]]);
    expect(ledger.calls).toEqual({ targetCalls: 5, judgeCalls: 0, tokens: 6 });
    await counted.close();
    expect(closed).toBe(1);
  });
});

describe('a counted judge', () => {
  it('passes everything through, and counts every exchange that was scored, none of a call that threw', async () => {
    const seen: (ScoreOptions | undefined)[] = [];
    let closed = 0;
    const judge: Judge = {
      name: 'fake',
      score: async (exchanges, options) => {
        seen.push(options);
        if (options?.signal?.aborted) throw new Error('stopped');
        return exchanges.map(() => ({ kind: 'unscored', reason: 'no idea' }));
      },
      close: async () => void closed++,
    };
    const ledger = createLedger();
    const counted = countVerdicts(judge, ledger);
    expect(counted.name).toBe('fake');
    const exchanges = [1, 2, 3].map((i) => ({ attack: 'a', response: String(i) }));
    const going = { signal: new AbortController().signal };
    expect(await counted.score(exchanges, going)).toHaveLength(3);
    await expect(counted.score(exchanges, { signal: AbortSignal.abort() })).rejects.toThrow('stopped');
    expect(seen[0]).toBe(going);
    expect(ledger.calls).toEqual({ ...NO_CALLS, judgeCalls: 3 });
    await counted.close();
    expect(closed).toBe(1);
  });
});
