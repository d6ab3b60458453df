import { describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { collectionWeights } from '../../../src/learning/loops/collection-weights.ts';
import {
  consultReference,
  drawAttacks,
  type ReferenceRule,
  tryRollouts,
  writtenTokens,
} from '../../../src/learning/loops/rollout.ts';
import type { FluencyForm } from '../../../src/learning/reward/fluency.ts';
import { logRewardAt, type RewardFunction, type RewardRequest } from '../../../src/learning/reward/reward.ts';
import { fakeAttacker } from './fake-attacker.ts';

const requestsFor = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ stream: randomStream(1, 'draw', i), temperature: 1 }));

/** Terminated, cut, shorter than three tokens. */
const ATTACKS = [
  { tokens: [0, 1, 2], terminated: true },
  { tokens: [4, 4, 4, 4, 4], terminated: false },
  { tokens: [3, 0], terminated: true },
  { tokens: [0, 0, 0, 4], terminated: true },
];

// By hand from -(1 + token / 4 + position / 8), the end token being 9.
const LOG_PROBS = [
  [-1, -1.375, -1.75, -3.625],
  [-2, -2.125, -2.25, -2.375, -2.5],
  [-1.75, -1.125, -3.5],
  [-1, -1.125, -1.25, -2.375, -3.75],
];
/** Of an end token after the cut attack. */
const LOG_P_END = -3.875;
const LOG_P_REF = [-7.75, -11.25, -6.375, -9.5];
const SHORT_PENALTY = -20;

const FORMS: readonly { readonly form: FluencyForm; readonly fluency: readonly number[] }[] = [
  { form: { kind: 'sum' }, fluency: [-7.75, -11.25, SHORT_PENALTY, -9.5] },
  { form: { kind: 'mean' }, fluency: [-1.9375, -2.25, SHORT_PENALTY, -1.9] },
  {
    // Means of the two lowest: -2.6875, -2.4375, -, -3.0625.
    form: { kind: 'min-k-gate', k: 2, threshold: -2.7, penalty: -5 },
    fluency: [0, 0, SHORT_PENALTY, -5],
  },
];

const ruleOf = (form: FluencyForm, truncationPenalty = false): ReferenceRule => ({
  fluency: { form, minTokens: 3, shortPenalty: SHORT_PENALTY },
  truncationPenalty,
});

const consult = (rule: ReferenceRule) => consultReference(fakeAttacker().attacker, {}, ATTACKS, rule);

describe.each(FORMS)('the reference under fluency form $form.kind', ({ form, fluency }) => {
  test('gives the shaped term as fluency, and log p_ref as it is', async () => {
    const opinions = await consult(ruleOf(form));
    expect(opinions.map((opinion) => opinion.fluency)).toEqual(fluency.map((term) => expect.closeTo(term, 6)));
    expect(opinions.map(({ logPRef }) => logPRef)).toEqual(LOG_P_REF);
    expect(opinions.map(({ tokenLogProbs }) => [...tokenLogProbs])).toEqual(LOG_PROBS);
  });

  test('adds the missing end of a cut attack to its fluency alone', async () => {
    const opinions = await consult(ruleOf(form, true));
    const withEnd = fluency.map((term, i) => expect.closeTo(ATTACKS[i]?.terminated ? term : term + LOG_P_END, 6));
    expect(opinions.map((opinion) => opinion.fluency)).toEqual(withEnd);
    expect(opinions.map(({ logPRef }) => logPRef)).toEqual(LOG_P_REF);
    expect(opinions.map(({ tokenLogProbs }) => [...tokenLogProbs])).toEqual(LOG_PROBS);
  });

  test('weighs a collected attack by exp(log R) of its shaped fluency', async () => {
    const rule = {
      beta: 0.5,
      gamma: { from: 2, to: 4, updates: 10 },
      temperature: { from: 3, to: 2, updates: 10 },
    };
    const logS = [-0.1, -2, -0.5, -0.3];
    const opinions = await consult(ruleOf(form, true));
    const collected = opinions.map((opinion, i) => ({
      ids: [i],
      text: `attack ${i}`,
      fluency: opinion.fluency,
      score: { logS: logS[i] as number, meanUnsafe: 0.9, responses: 5 },
    }));
    const logReward = logRewardAt(rule, 10);
    const weights = collectionWeights(collected, {
      kind: 'reward',
      clusterSizes: [],
      balance: 1,
      logReward: (attack) => logReward(attack.fluency, attack.score.logS),
    });
    const rewards = fluency.map((term, i) => {
      const shaped = ATTACKS[i]?.terminated ? term : term + LOG_P_END;
      return Math.exp((shaped / 4 + (logS[i] as number) / 0.5) / 2);
    });
    const total = rewards.reduce((sum, reward) => sum + reward, 0);
    expect(weights).toEqual(rewards.map((reward) => expect.closeTo(reward / total, 9)));
  });
});

describe('drawing', () => {
  test('bounds the rows of a call, and draws each attack as it would alone', async () => {
    const { attacker, batches } = fakeAttacker();
    const together = await drawAttacks(attacker, {}, requestsFor(130));
    expect(batches).toEqual([64, 64, 2]);
    const alone = await Promise.all(
      [0, 70, 129].map((i) => drawAttacks(attacker, {}, requestsFor(130).slice(i, i + 1))),
    );
    expect(alone.flat()).toEqual([together[0], together[70], together[129]]);
    batches.length = 0;
    const rule = ruleOf({ kind: 'sum' });
    const opinions = await consultReference(attacker, {}, together, rule);
    expect(batches).toEqual([64, 64, 2]);
    const [last] = await consultReference(attacker, {}, together.slice(129), rule);
    expect(opinions.at(129)).toEqual(last);
  });

  test('counts the tokens written, end tokens too', () => {
    expect(writtenTokens(ATTACKS)).toBe(4 + 5 + 3 + 5);
    expect(writtenTokens([])).toBe(0);
  });
});

describe('trying', () => {
  const score = { logS: -1, meanUnsafe: 0.5, responses: 2 };
  const opinions = [1, 2, 3, 4].map((i) => ({ logPRef: -i, fluency: -10 * i }));

  test('keeps each attack beside its own opinion and evidence where some cannot be scored', async () => {
    const asked: (readonly RewardRequest[])[] = [];
    const reward: RewardFunction<string> = async (requests) => {
      asked.push(requests);
      return requests.map(({ text }, i) =>
        i % 2 === 0
          ? { score: undefined, evidence: `on ${text}`, ...(i === 0 ? {} : { reason: 'too long' }) }
          : { score, evidence: `on ${text}` },
      );
    };
    const attacks = ATTACKS.map((attack, i) => ({ ...attack, source: 'fresh' as const, text: `t${i}`, logPi: -i }));
    const tried = await tryRollouts(attacks, opinions, reward, (row) => ['response', row]);
    expect(asked).toEqual([attacks.map(({ text }, row) => ({ text, streamName: ['response', row] }))]);
    const known = (i: number) => ({ ...attacks[i], ...opinions[i], evidence: `on t${i}` });
    expect(tried).toEqual({
      scored: [1, 3].map((i) => ({ ...known(i), score })),
      rows: [1, 3],
      unscored: [0, 2].map(known),
      reason: 'too long',
    });
    for (const attack of tried.unscored) expect('score' in attack).toBe(false);
  });
});
