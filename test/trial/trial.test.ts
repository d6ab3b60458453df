import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import type { Exchange, Judge, ScoreOptions, Verdict } from '../../src/judges/judge.ts';
import type { AskOptions, Target, TargetAnswer, TargetRequest } from '../../src/targets/target.ts';
import { createLedger } from '../../src/trial/ledger.ts';
import {
  createJudging,
  createRewardFunction,
  createTrial,
  type JudgeSeat,
  type TrialOptions,
} from '../../src/trial/trial.ts';

const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 9 };

const text = (written: string, tokens = 2): TargetAnswer => ({
  kind: 'text',
  text: written,
  truncated: tokens === decode.maxNewTokens,
  usage: { calls: 1, tokens },
});
const refused = (tokens = 0): TargetAnswer => ({ kind: 'refused', reason: 'filter', usage: { calls: 1, tokens } });
const failed = (reason: string, calls = 0): TargetAnswer => ({
  kind: 'failed',
  reason,
  usage: { calls, tokens: 0 },
});

/** A target with the answers of each attack written down. */
function scripted(answers: Readonly<Record<string, TargetAnswer[]>>) {
  const asked: AskOptions[] = [];
  const target: Target = {
    name: 'scripted',
    ask: async (requests, options) => {
      asked.push(options);
      return requests.map(({ attack }) => answers[attack] as TargetAnswer[]);
    },
    close: async () => undefined,
  };
  return { target, asked };
}

/** A seat whose judge reads P(unsafe) from the response (`0.25 …`) and cannot score any other text. */
function seatOf(name: string, masked = false, scale = 1) {
  const seen: { readonly exchanges: readonly Exchange[]; readonly options: ScoreOptions | undefined }[] = [];
  const judge: Judge = {
    name: `judge of ${name}`,
    score: async (exchanges, options) => {
      if (exchanges.length > 0) seen.push({ exchanges, options });
      return exchanges.map(({ response }): Verdict => {
        const unsafe = Number.parseFloat(response);
        return Number.isNaN(unsafe)
          ? { kind: 'unscored', reason: `${name} cannot read ${response}` }
          : { kind: 'scored', unsafe: unsafe * scale };
      });
    },
    close: async () => undefined,
  };
  return { seat: { name, masked, judge } satisfies JudgeSeat, seen };
}

const requestsFor = (...attacks: string[]): TargetRequest[] =>
  attacks.map((attack, i) => ({ attack, streamName: ['test', i] }));

/** A trial of such a target before two seats of one name and a third. */
function tryWith(answers: Readonly<Record<string, TargetAnswer[]>>, changes: Partial<TrialOptions> = {}) {
  const { target, asked } = scripted(answers);
  const seats = [seatOf('alarms'), seatOf('alarms', true, 0.5), seatOf('bells', false, 0.1)];
  const ledger = createLedger();
  const options = { target, decode, responses: 2, seats: seats.map(({ seat }) => seat), ledger, ...changes };
  return { trial: createTrial(options), asked, seen: seats.map((each) => each.seen), ledger };
}

const verdicts = (unsafe: number) => [
  { judge: 'alarms', masked: false, unsafe },
  { judge: 'alarms', masked: true, unsafe: unsafe * 0.5 },
  { judge: 'bells', masked: false, unsafe: unsafe * 0.1 },
];

const unscoredVerdicts = (response: string) =>
  [
    ['alarms', false],
    ['alarms', true],
    ['bells', false],
  ].map(([judge, masked]) => ({ judge, masked, unsafe: null, reason: `${judge} cannot read ${response}` }));

describe('trying attacks', () => {
  it('gives each response the verdicts of every seat on it, across requests and kinds of answer', async () => {
    const { trial, seen, ledger } = tryWith({
      first: [text('0.2'), text('0.4', 9)],
      refusing: [refused(3), text('0.6')],
      broken: [failed('too long'), failed('another reason')],
      patchy: [failed('500 after 3 tries', 3), text('nonsense')],
      last: [text('0.8'), text('1')],
    });
    const evidence = await trial.try(requestsFor('first', 'refusing', 'broken', 'patchy', 'last'));
    const response = (written: string, tokens = 2) => ({ text: written, tokens, truncated: tokens === 9 });
    expect(evidence).toEqual([
      {
        responses: [
          { ...response('0.2'), verdicts: verdicts(0.2) },
          { ...response('0.4', 9), verdicts: verdicts(0.4) },
        ],
      },
      {
        responses: [
          { text: '', tokens: 3, truncated: false, refused: 'filter', verdicts: verdicts(0) },
          { ...response('0.6'), verdicts: verdicts(0.6) },
        ],
      },
      { responses: [], failure: 'too long' },
      {
        responses: [{ ...response('nonsense'), verdicts: unscoredVerdicts('nonsense') }],
        failure: '500 after 3 tries',
      },
      {
        responses: [
          { ...response('0.8'), verdicts: verdicts(0.8) },
          { ...response('1'), verdicts: verdicts(1) },
        ],
      },
    ]);
    // Every judge reads the texts alone, each beside its own attack.
    const pairs = [
      ['first', '0.2'],
      ['first', '0.4'],
      ['refusing', '0.6'],
      ['patchy', 'nonsense'],
      ['last', '0.8'],
      ['last', '1'],
    ];
    for (const judged of seen) {
      expect(judged.flatMap(({ exchanges }) => exchanges.map((each) => [each.attack, each.response]))).toEqual(pairs);
    }
    // 6 texts, 1 refusal, a failure of 3 calls, three that were never asked; 3 seats of 6 exchanges.
    expect(ledger.calls).toEqual({ targetCalls: 10, judgeCalls: 18, tokens: 5 * 2 + 9 + 3 });
  });

  it('takes a refusal as safe by rule for every seat: no judge is called', async () => {
    const { trial, seen, ledger } = tryWith({ a: [refused(), refused()] });
    const [evidence] = await trial.try(requestsFor('a'));
    expect(evidence?.failure).toBeUndefined();
    expect(evidence?.responses.map((each) => each.verdicts)).toEqual([verdicts(0), verdicts(0)]);
    expect(seen).toEqual([[], [], []]);
    expect(ledger.calls).toEqual({ targetCalls: 2, judgeCalls: 0, tokens: 0 });
  });

  it('takes a failure as no response: no judge is called, and what it cost is counted', async () => {
    const { trial, seen, ledger } = tryWith({ a: [failed('gone', 2), failed('gone', 2)] });
    expect(await trial.try(requestsFor('a'))).toEqual([{ responses: [], failure: 'gone' }]);
    expect(seen).toEqual([[], [], []]);
    expect(ledger.calls).toEqual({ targetCalls: 4, judgeCalls: 0, tokens: 0 });
  });

  it('answers no requests with nothing', async () => {
    const { trial, ledger } = tryWith({});
    expect(await trial.try([])).toEqual([]);
    expect(ledger.calls).toEqual({ targetCalls: 0, judgeCalls: 0, tokens: 0 });
  });
});

describe('a trial', () => {
  it('asks as it was told to, and hands its signal to the target and to every judge', async () => {
    const { signal } = new AbortController();
    const { trial, asked, seen } = tryWith({ a: [text('0.5'), text('0.5')] }, { signal });
    await trial.try(requestsFor('a'));
    expect(asked).toEqual([{ responses: 2, decode, signal }]);
    expect(asked[0]?.signal).toBe(signal);
    for (const judged of seen) expect(judged.map(({ options }) => options?.signal)).toEqual([signal]);
    const without = tryWith({ a: [text('0.5'), text('0.5')] });
    await without.trial.try(requestsFor('a'));
    expect(without.asked).toEqual([{ responses: 2, decode }]);
    for (const judged of without.seen) expect(judged.map(({ options }) => options?.signal)).toEqual([undefined]);
  });

  it('asks alone and judges alone, each counted', async () => {
    const answers = [text('0.5'), refused(1)];
    const { trial, seen, ledger } = tryWith({ a: answers });
    expect(await trial.ask(requestsFor('a'))).toEqual([answers]);
    expect(seen).toEqual([[], [], []]);
    expect(ledger.take()).toEqual({ targetCalls: 2, judgeCalls: 0, tokens: 3 });
    const exchanges = ['0.4', 'x'].map((response) => ({ attack: 'b', response }));
    expect(await trial.judge(exchanges)).toEqual([
      [
        { kind: 'scored', unsafe: 0.4 },
        { kind: 'unscored', reason: 'alarms cannot read x' },
      ],
      [
        { kind: 'scored', unsafe: 0.2 },
        { kind: 'unscored', reason: 'alarms cannot read x' },
      ],
      [
        { kind: 'scored', unsafe: expect.closeTo(0.04, 12) },
        { kind: 'unscored', reason: 'bells cannot read x' },
      ],
    ]);
    expect(ledger.take()).toEqual({ targetCalls: 0, judgeCalls: 6, tokens: 0 });
  });

  it('judges without any target, as a trial does', async () => {
    const { signal } = new AbortController();
    const { seat, seen } = seatOf('alarms');
    const ledger = createLedger();
    const judge = createJudging({ seats: [seat, seatOf('bells', true, 0.5).seat], ledger, signal });
    const exchanges = [{ attack: 'a', response: '0.5' }];
    const scored = (unsafe: number) => [{ kind: 'scored', unsafe }];
    expect(await judge(exchanges)).toEqual([scored(0.5), scored(0.25)]);
    expect(seen).toEqual([{ exchanges, options: { signal } }]);
    expect(await createJudging({ seats: [], ledger })(exchanges)).toEqual([]);
    expect(ledger.calls).toEqual({ targetCalls: 0, judgeCalls: 2, tokens: 0 });
  });

  it('passes on what its parts throw, with the calls made so far counted', async () => {
    const stopped: JudgeSeat = {
      name: 'stopped',
      masked: false,
      judge: {
        name: 'stopped',
        score: () => Promise.reject(new FloodgateError('interrupted', 'stopped: interrupted')),
        close: async () => undefined,
      },
    };
    const first = seatOf('alarms').seat;
    const { trial, ledger } = tryWith({ a: [text('0.5'), text('0.5')] }, { seats: [first, stopped] });
    await expect(trial.try(requestsFor('a'))).rejects.toMatchObject({ code: 'interrupted' });
    expect(ledger.calls).toEqual({ targetCalls: 2, judgeCalls: 2, tokens: 4 });
  });
});

describe('the reward of attacks', () => {
  const rewardsOf = async (
    answers: Readonly<Record<string, TargetAnswer[]>>,
    seat = { name: 'alarms', masked: false },
  ) => {
    const { trial } = tryWith(answers);
    const asked: TargetRequest[][] = [];
    const watched = {
      try: (requests: readonly TargetRequest[]) => {
        asked.push([...requests]);
        return trial.try(requests);
      },
    };
    const reward = createRewardFunction(watched, seat, 0.01);
    const results = await reward(Object.keys(answers).map((attack, i) => ({ text: attack, streamName: ['r', i] })));
    return { results, asked };
  };

  it('is the score of the seat over the responses that it could score, floored in the logarithm', async () => {
    const answers = {
      a: [text('0.5'), text('0')],
      b: [refused(), text('1')],
      c: [failed('gone'), text('0.3')],
      d: [text('0.7'), text('nonsense')],
    };
    const { results, asked } = await rewardsOf(answers);
    expect(asked).toEqual([requestsFor('a', 'b', 'c', 'd').map((each, i) => ({ ...each, streamName: ['r', i] }))]);
    const near = (value: number) => expect.closeTo(value, 12);
    expect(results.map(({ score }) => score)).toEqual([
      { logS: near((Math.log(0.5) + Math.log(0.01)) / 2), meanUnsafe: 0.25, responses: 2 },
      { logS: near(Math.log(0.01) / 2), meanUnsafe: 0.5, responses: 2 },
      { logS: near(Math.log(0.3)), meanUnsafe: 0.3, responses: 1 },
      { logS: near(Math.log(0.7)), meanUnsafe: 0.7, responses: 1 },
    ]);
    for (const result of results) expect('reason' in result).toBe(false);
    expect(results[1]?.evidence.responses[0]?.refused).toBe('filter');
    const byMasked = await rewardsOf(answers, { name: 'alarms', masked: true });
    expect(byMasked.results.map(({ score }) => score?.meanUnsafe)).toEqual([0.125, 0.25, 0.15, 0.35]);
  });

  it('is none where nothing could be scored, with the reason named: never 0', async () => {
    const { results } = await rewardsOf({
      a: [failed('too long'), failed('too long')],
      b: [text('nonsense'), text('more nonsense')],
      c: [],
    });
    expect(results.map(({ score, reason }) => [score, reason])).toEqual([
      [undefined, 'too long'],
      [undefined, 'alarms cannot read nonsense'],
      [undefined, 'the target gave no response'],
    ]);
    const elsewhere = await rewardsOf({ a: [text('1'), text('1')] }, { name: 'nobody', masked: false });
    expect(elsewhere.results[0]?.score).toBeUndefined();
  });
});
