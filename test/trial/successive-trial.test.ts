import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import type { Judge } from '../../src/judges/judge.ts';
import { averageScores, type JudgeScore } from '../../src/learning/reward/reward.ts';
import type { Target, TargetAnswer } from '../../src/targets/target.ts';
import { type Evidence, meanUnsafeOf, unsafeOf } from '../../src/trial/evidence.ts';
import { createLedger } from '../../src/trial/ledger.ts';
import { createSuccessiveTrial } from '../../src/trial/successive-trial.ts';
import { createRewardFunction, createTrial, type JudgeSeat } from '../../src/trial/trial.ts';

const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 9 };

/** Answers an attack `0.3` with `1` at that rate, with `0` otherwise; other attacks as they are written. */
function chanceTarget() {
  const asked: { readonly name: string; readonly responses: number }[] = [];
  const answer = (attack: string, name: readonly (string | number)[], i: number): TargetAnswer => {
    const usage = { calls: 1, tokens: 1 };
    if (attack === 'fails later' && name.includes('again')) return { kind: 'failed', reason: 'gone', usage };
    const rate = attack === 'fails later' ? 1 : Number(attack);
    const text = randomStream(1, ...name, i).nextFloat() < rate ? '1' : '0';
    return { kind: 'text', text, truncated: false, usage };
  };
  const target: Target = {
    name: 'chance',
    ask: async (requests, { responses }) => {
      for (const { streamName } of requests) asked.push({ name: streamName.join(' '), responses });
      return requests.map(({ attack, streamName }) =>
        Array.from({ length: responses }, (_, i) => answer(attack, streamName, i)),
      );
    },
    close: async () => undefined,
  };
  return { target, asked };
}

const judge: Judge = {
  name: 'reader',
  score: async (exchanges) => exchanges.map(({ response }) => ({ kind: 'scored', unsafe: Number(response) })),
  close: async () => undefined,
};
const seat: JudgeSeat = { name: 'reader', masked: false, judge };

function successive(first: number, most: number) {
  const { target, asked } = chanceTarget();
  const ledger = createLedger();
  const trialOf = (responses: number) => createTrial({ target, decode, responses, seats: [seat], ledger });
  const trial = createSuccessiveTrial({
    first: trialOf(first),
    again: trialOf(most - first),
    isWorthMore: (evidence) => (meanUnsafeOf(evidence, seat) ?? 0) > 0.5,
  });
  return { trial, asked, ledger };
}

const unsafe = (evidence: Evidence | undefined) => unsafeOf(evidence as Evidence, seat);

describe('a successive trial', () => {
  it('asks once, and again only where the first response succeeds; every call is counted', async () => {
    const { trial, asked, ledger } = successive(1, 5);
    const requests = ['1', '0', '1'].map((attack, i) => ({ attack, streamName: ['t', i] }));
    const tried = await trial.try(requests);
    expect(tried.map((evidence) => unsafe(evidence))).toEqual([[1, 1, 1, 1, 1], [0], [1, 1, 1, 1, 1]]);
    expect(asked).toEqual([
      ...['t 0', 't 1', 't 2'].map((name) => ({ name, responses: 1 })),
      ...['t 0 again', 't 2 again'].map((name) => ({ name, responses: 4 })),
    ]);
    expect(ledger.calls).toEqual({ targetCalls: 11, judgeCalls: 11, tokens: 11 });
  });

  it('asks nobody again where nothing succeeds', async () => {
    const { trial, asked } = successive(2, 3);
    await trial.try([{ attack: '0', streamName: ['t'] }]);
    expect(asked).toEqual([{ name: 't', responses: 2 }]);
  });

  it('keeps the first responses, before the others, and the reason of those that failed', async () => {
    const { trial } = successive(1, 3);
    const [evidence] = await trial.try([{ attack: 'fails later', streamName: ['t'] }]);
    expect(unsafe(evidence)).toEqual([1]);
    expect(evidence?.failure).toBe('gone');
  });

  it('has a mean that is too low by what docs/method.md says for one draw, and right when draws are pooled', async () => {
    const [rate, most, draws] = [0.4, 5, 40_000];
    const { trial } = successive(1, most);
    const reward = createRewardFunction(trial, seat, 1e-6);
    const requests = Array.from({ length: draws }, (_, i) => ({ text: String(rate), streamName: ['t', i] }));
    const scores = (await reward(requests)).map(({ score }) => score as JudgeScore);
    const mean = scores.reduce((sum, { meanUnsafe }) => sum + meanUnsafe / draws, 0);
    // Standard errors are about 0.002; the bias is 0.19.
    expect(mean).toBeCloseTo(rate - ((most - 1) / most) * rate * (1 - rate), 2);
    const asked = scores.filter(({ responses }) => responses === most);
    const meanOfAsked = asked.reduce((sum, { meanUnsafe }) => sum + meanUnsafe / asked.length, 0);
    expect(meanOfAsked).toBeCloseTo(rate + (1 - rate) / most, 2);
    expect(scores.reduce(averageScores).meanUnsafe).toBeCloseTo(rate, 2);
  });
});
