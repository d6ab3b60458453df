import { describe, expect, test } from 'vitest';
import { AskedBatches, type BatchElsewhere, type DrawnBatch } from '../../../src/learning/loops/asked-batches.ts';
import type { DrawStates, SearchedAttacks } from '../../../src/learning/loops/draw-plan.ts';
import { gather } from '../../../src/learning/loops/gflownet-gather.ts';
import type { GatherOptions, GflownetParts } from '../../../src/learning/loops/gflownet-parts.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import type { RewardFunction } from '../../../src/learning/reward/reward.ts';
import { fakeAttacker } from './fake-attacker.ts';

const reward: RewardFunction<string> = async (requests) =>
  requests.map(({ streamName }) => ({
    score: { logS: -1, meanUnsafe: 0.4, responses: 1 },
    evidence: streamName.join('/'),
  }));

function batchOf(update: number, source: 'fresh' | 'tempered' = 'fresh'): DrawnBatch {
  const attack = { source, tokens: [update], terminated: true, text: `attack ${update}`, logPi: -1 };
  return { update, attacks: [{ attack }] };
}

/** Batches that are drawn when the test says so. */
function batchesWith(updates: readonly number[]) {
  const asked = new AskedBatches<string>();
  const settled: number[] = [];
  const stored: number[] = [];
  const draw = new Map<number, () => void>();
  const fail = new Map<number, (error: Error) => void>();
  for (const update of updates) {
    const drawn: BatchElsewhere['drawn'] = new Promise((resolve, reject) => {
      const found = {
        batch: batchOf(update),
        opinions: [{ logPRef: -2, fluency: -3 }],
        stored: () => stored.push(update),
      };
      draw.set(update, () => resolve(found));
      fail.set(update, reject);
    });
    drawn.catch(() => undefined);
    const openReward = () => ({ reward, settle: () => settled.push(update) });
    asked.search({ openReward }, { update, size: 1, drawn, redraw: async () => batchOf(update, 'tempered') });
  }
  const drawAll = async (...these: readonly number[]): Promise<void> => {
    for (const update of these) {
      draw.get(update)?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { asked, settled, stored, drawAll, fail };
}

const updatesOf = (taken: readonly { readonly drawn: DrawnBatch }[]) => taken.map(({ drawn }) => drawn.update);
const arrival = (oldest: number, before?: readonly number[]) => ({ oldest, before });

describe('batches that are drawn elsewhere', () => {
  test('are under way before they are drawn, and their answers name their own update', async () => {
    const { asked, stored, drawAll } = batchesWith([3]);
    expect(asked.underWay).toEqual([{ update: 3, size: 1 }]);
    const taking = asked.take({ count: 1 });
    await drawAll(3);
    const [taken] = await taking;
    expect(taken?.tried.scored[0]).toMatchObject({ evidence: 'response/3/0', logPRef: -2, fluency: -3 });
    expect(stored).toEqual([3]);
    expect(asked.underWay).toEqual([]);
  });

  test('are taken in the order of asking, whichever comes first', async () => {
    const { asked, settled, drawAll } = batchesWith([0, 1, 2]);
    await drawAll(2, 1);
    const taking = asked.take({ count: 2 });
    await drawAll(0);
    expect(updatesOf(await taking)).toEqual([0, 1]);
    expect(settled).toEqual([0, 1]);
  });

  test('with arrivals, those that came first are taken, in the order of asking among themselves', async () => {
    const { asked, drawAll } = batchesWith([0, 1, 2, 3]);
    await drawAll(3, 1, 2);
    expect(updatesOf(await asked.take({ count: 2, arrival: arrival(-1) }))).toEqual([1, 3]);
    expect(updatesOf(await asked.take({ count: 1, arrival: arrival(-1) }))).toEqual([2]);
    const taking = asked.take({ count: 1, arrival: arrival(-1) });
    await drawAll(0);
    expect(updatesOf(await taking)).toEqual([0]);
  });

  test('with arrivals, the next one is waited for where none has come', async () => {
    const { asked, drawAll } = batchesWith([0, 1, 2]);
    const taking = asked.take({ count: 1, arrival: arrival(-1) });
    await drawAll(1);
    expect(updatesOf(await taking)).toEqual([1]);
  });

  test('one that would be too old at the next update is waited for, and others stay', async () => {
    const { asked, drawAll } = batchesWith([0, 1, 2]);
    await drawAll(1, 2);
    let isTaken = false;
    const taking = asked.take({ count: 1, arrival: arrival(0) }).finally(() => {
      isTaken = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(isTaken).toBe(false);
    await drawAll(0);
    expect(updatesOf(await taking)).toEqual([0]);
    expect(asked.underWay.map(({ update }) => update)).toEqual([1, 2]);
  });

  test('those that were taken here before a stop are taken again, whichever comes first', async () => {
    const { asked, drawAll } = batchesWith([0, 1, 2]);
    await drawAll(0);
    const taking = asked.take({ count: 1, arrival: arrival(-1, [2]) });
    await drawAll(1, 2);
    expect(updatesOf(await taking)).toEqual([2]);
  });

  test('a checkpoint waits for those under way, and has those drawn here that nobody brings', async () => {
    const { asked, drawAll, fail } = batchesWith([0, 1]);
    const drawing = asked.drawn();
    await drawAll(0);
    fail.get(1)?.(new Error('interrupted'));
    expect(await drawing).toEqual([batchOf(0), batchOf(1, 'tempered')]);
  });

  test('a failure shows when its batch is taken, and all stay', async () => {
    const { asked, settled, drawAll, fail } = batchesWith([0, 1]);
    fail.get(1)?.(new Error('no worker can do it'));
    await drawAll(0);
    await expect(asked.take({ count: 2 })).rejects.toThrow('no worker can do it');
    expect(settled).toEqual([]);
    expect(updatesOf(await asked.take({ count: 1 }))).toEqual([0]);
  });
});

const OPTIONS: GatherOptions = {
  batchSize: 4,
  accumulation: 1,
  reward: { beta: 1, gamma: { from: 1, to: 1, updates: 0 }, temperature: { from: 1, to: 1, updates: 0 } },
  fluency: { form: { kind: 'sum' }, minTokens: 0, shortPenalty: -50 },
  truncationPenalty: false,
  freshShare: 0.5,
  temperedShare: 0.5,
  temperatures: { low: 0.5, high: 2 },
  rewriteShare: 0,
  rewriteChange: 0.3,
  updates: 9,
  updatesPerBatch: 1,
  askedAhead: 2,
  maxLag: 3,
  replayBy: 'judge',
  rescoreReplay: false,
  seed: 1,
};

/** A stage whose searches end when the test says so. */
function searchingParts() {
  const policy = { parameters: { data: Float32Array.of(0, 0) } };
  const states: Float32Array[] = [];
  const finish = new Map<number, () => void>();
  const kept = new Map<number, readonly number[]>();
  const attacker = Object.assign(fakeAttacker().attacker, { createParameters: () => ({ data: new Float32Array(2) }) });
  const buffer = createReplayBuffer({ nearEditRatio: null });
  const score = { logS: -1, meanUnsafe: 0.4, responses: 1 };
  const seed = {
    source: 'seed',
    tokens: [7],
    terminated: true,
    text: 'seed',
    fluency: -1,
    score,
    addedAtUpdate: -1,
  } as const;
  buffer.insert(seed, () => 0);
  const parts = {
    attacker,
    policy,
    reference: {},
    buffer,
    reward,
    openReward: () => ({ reward, settle: () => undefined }),
    asked: new AskedBatches<string>(),
    search: ({ update }: { readonly update: number }, { policy: published }: DrawStates) => {
      states.push(published);
      const attacks = [0, 1].map((row) => ({
        attack: {
          source: 'fresh' as const,
          tokens: [update, row],
          terminated: true,
          text: `${update} ${row}`,
          logPi: -1,
        },
      }));
      const opinions = attacks.map(() => ({ logPRef: -2, fluency: -3 }));
      return new Promise<SearchedAttacks>((resolve) => {
        finish.set(update, () => resolve({ attacks, opinions, stored: () => undefined }));
      });
    },
    takenOrder: {
      at: (update: number) => kept.get(update),
      keep: (update: number, all: readonly number[]) => kept.set(update, all),
    },
  } as unknown as GflownetParts<string>;
  const finishAll = async (...updates: readonly number[]): Promise<void> => {
    for (const update of updates) {
      finish.get(update)?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { parts, policy, states, kept, finishAll };
}

describe('an update whose attacks workers draw', () => {
  test('publishes the policy as it is, and counts tokens when it takes the attacks', async () => {
    const { parts, policy, states, finishAll } = searchingParts();
    const first = await gather(parts, OPTIONS, 0);
    expect(first.attackTokens).toBe(0);
    expect(first).not.toHaveProperty('lag');
    policy.parameters.data.fill(1);
    await gather(parts, OPTIONS, 1);
    expect(states.map((each) => [...each])).toEqual([
      [0, 0],
      [1, 1],
    ]);
    await finishAll(0);
    const third = await gather(parts, OPTIONS, 2);
    expect(third.rows.filter(({ source }) => source === 'fresh').map(({ text }) => text)).toEqual(['0 0', '0 1']);
    expect(third).toMatchObject({ attackTokens: 6, lag: 2 });
  });

  test('takes what came, waits for a batch before it is too old, and notes its choice', async () => {
    const { parts, kept, finishAll } = searchingParts();
    await gather(parts, OPTIONS, 0);
    await gather(parts, OPTIONS, 1);
    await finishAll(1);
    expect((await gather(parts, OPTIONS, 2)).lag).toBe(1);
    let isOver = false;
    const fourth = gather(parts, OPTIONS, 3).finally(() => {
      isOver = true;
    });
    await finishAll(2, 3);
    expect(isOver).toBe(false);
    await finishAll(0);
    expect((await fourth).lag).toBe(3);
    expect([...kept]).toEqual([
      [0, []],
      [1, []],
      [2, [1]],
      [3, [0]],
    ]);
  });

  test('takes the batches that it took before a stop', async () => {
    const { parts, kept, finishAll } = searchingParts();
    kept.set(2, [0]);
    await gather(parts, OPTIONS, 0);
    await gather(parts, OPTIONS, 1);
    const third = gather(parts, OPTIONS, 2);
    await finishAll(1, 0);
    expect((await third).lag).toBe(2);
  });
});
