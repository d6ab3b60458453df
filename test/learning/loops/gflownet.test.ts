import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EnumerableWorld, openEnumerableWorld } from '../../../lab/enumerable/enumerable-world.ts';
import { silentProgress } from '../../../src/base/progress.ts';
import { createAdamWState } from '../../../src/engine/optimizer/adamw.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { loadLatestCheckpoint } from '../../../src/learning/checkpoints/checkpoint-folder.ts';
import { AskedBatches, type DrawnBatch } from '../../../src/learning/loops/asked-batches.ts';
import { type GflownetOptions, type GflownetUpdate, trainGflownet } from '../../../src/learning/loops/gflownet.ts';
import { rewardOf } from '../../../src/learning/loops/gflownet-parts.ts';
import { startsCycle } from '../../../src/learning/loops/refit.ts';
import { contrastiveBalance } from '../../../src/learning/objectives/contrastive-balance.ts';
import { type Objective, slopeClips } from '../../../src/learning/objectives/objective.ts';
import { trajectoryBalance } from '../../../src/learning/objectives/trajectory-balance.ts';
import { varGrad } from '../../../src/learning/objectives/vargrad.ts';
import { Surrogate, type SurrogateState } from '../../../src/learning/proposals/surrogate.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import { restoreReplayBuffer } from '../../../src/learning/replay/replay-buffer-state.ts';
import { WordingClusters, type WordingClustersState } from '../../../src/learning/replay/wording-clusters.ts';
import type { RewardFunction } from '../../../src/learning/reward/reward.ts';
import { SuccessPool } from '../../../src/learning/reward/spread.ts';
import { relativeError } from '../../support/golden-file.ts';

let world: EnumerableWorld;
beforeAll(async () => {
  world = await openEnumerableWorld({ seed: 3, words: 6, maxTokens: 3, keys: 4, referenceUpdates: 20 });
});
afterAll(async () => {
  await world.close();
  expect(liveSessionLabels()).toEqual([]);
});

const rateOf = (peak: number) => ({ peak, warmupUpdates: 0, decay: 'constant', totalUpdates: 9 }) as const;

function optionsOf(changes: Partial<GflownetOptions> = {}): GflownetOptions {
  return {
    objective: trajectoryBalance(),
    updates: 1,
    batchSize: 32,
    accumulation: 1,
    learningRate: rateOf(1e-3),
    logZLearningRate: rateOf(1e-2),
    gradientClip: 1e9, // the gradient stays what it was, to be compared
    weightDecay: 0,
    reward: { beta: 0.3, gamma: { from: 1, to: 2, updates: 4 }, temperature: { from: 2, to: 1, updates: 4 } },
    fluency: { form: { kind: 'sum' }, minTokens: 1, shortPenalty: 0 },
    truncationPenalty: false,
    freshShare: 0.5,
    temperedShare: 0.5,
    temperatures: { low: 0.5, high: 2 },
    rewriteShare: 0,
    rewriteChange: 0.3,
    updatesPerBatch: 1,
    askedAhead: 0,
    replayBy: 'reward',
    rescoreReplay: false,
    seed: 1,
    ...changes,
  };
}

interface Training {
  readonly name: string;
  readonly reward?: RewardFunction<unknown>;
  /** `onUpdate` ends the stage after so many updates. */
  readonly stopAfter?: number;
  /** The signal is aborted during this update. */
  readonly abortIn?: number;
}

/** Trains from the reference on, or from the newest checkpoint of `name`. */
async function train(options: GflownetOptions, { name, reward = world.reward, stopAfter, abortIn }: Training) {
  const { objective } = options;
  const policy = await world.openPolicy({
    logZ: objective.usesLogZ ? 'through-trunk' : 'none',
    ...slopeClips(objective),
  });
  try {
    const checkpoints = { folder: path.join(world.folder, name), stage: 'gflownet' };
    const found = await loadLatestCheckpoint(checkpoints, policy.parameters);
    const saved = found?.state.extra as
      | {
          buffer: unknown;
          pool?: unknown;
          clusters?: WordingClustersState;
          surrogate?: SurrogateState;
          asked?: DrawnBatch[];
          caller: unknown;
        }
      | undefined;
    const emptyBuffer = () => createReplayBuffer({ capacity: 40, nearEditRatio: null });
    const buffer = saved === undefined ? emptyBuffer() : restoreReplayBuffer(saved.buffer);
    const records: GflownetUpdate<unknown>[] = [];
    const controller = new AbortController();
    const { attacker, reference } = world;
    const pool = saved?.pool === undefined ? new SuccessPool() : SuccessPool.from(saved.pool);
    const surrogate = new Surrogate(options.seed, saved?.surrogate);
    const clusters = new WordingClusters(0.75, saved?.clusters);
    const spreading = options.spread === undefined ? {} : { pool, clusters, surrogate, embed: embedByFirstWord };
    const asked = new AskedBatches<unknown>();
    const openReward = () => ({ reward, settle: () => undefined });
    const parts = { attacker, policy, reference, buffer, reward, openReward, asked, ...spreading };
    for (const drawn of saved?.asked ?? []) await asked.ask(parts, options, drawn);
    const training = trainGflownet(parts, options, {
      control: { checkpoints, checkpointEveryUpdates: 1000, progress: silentProgress, signal: controller.signal },
      from: found?.state.update ?? 0,
      optimizer: found?.state.optimizer ?? createAdamWState(policy.parameters.data.length),
      extra: () => ({ told: records.length }),
      onUpdate: async (record) => {
        records.push(record);
        if (record.update === abortIn) controller.abort();
        return record.update + 1 === stopAfter;
      },
    });
    const done = await training.catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'interrupted' });
      return 'interrupted';
    });
    return {
      done,
      records,
      gradient: policy.gradient.slice(),
      parameters: policy.parameters.data.slice(),
      contents: buffer.contents(),
      clusters: clusters.state(),
      restoredClusters: saved?.clusters,
      caller: saved?.caller,
    };
  } finally {
    await policy.close();
  }
}

/** Attacks of one first word are near each other. */
const embedByFirstWord = async (texts: readonly string[]): Promise<Float32Array[]> =>
  texts.map((text) => {
    const angle = (text.split(' ')[0] ?? '').length;
    return Float32Array.of(Math.cos(angle), Math.sin(angle));
  });

const withoutClock = ({ seconds: _clock, ...rest }: GflownetUpdate<unknown>) => rest;

test('an update reports what it learned from: log pi of its rows, log R of its schedules, the loss of both', async () => {
  const options = optionsOf({ updates: 3 });
  const { records, done } = await train(options, { name: 'report' });
  expect(done).toBe(3);
  expect(records.map(({ update }) => update)).toEqual([0, 1, 2]);
  for (const { update, rows, metrics } of records) {
    const logReward = rewardOf(options, update);
    for (const row of rows) expect(row.logReward).toBeCloseTo(logReward(row), 12);
    const [logProbs, logRewards] = [rows.map((row) => row.logPi), rows.map((row) => row.logReward)];
    expect(metrics.loss).toBeCloseTo(options.objective.loss(logProbs, logRewards, metrics.logZ as number), 9);
    expect(metrics.gradientNorm).toBeGreaterThan(0);
  }
  const [first, second] = records;
  expect(first?.rows).toHaveLength(16); // nothing to replay yet
  const stored = first?.counts.bufferSize as number;
  expect(stored).toBeGreaterThan(8);
  expect(second?.rows).toHaveLength(16 + Math.min(16, stored));
  // The policy starts as the reference, with log Z 0.
  expect(first?.metrics.logZ).toBe(0);
  for (const { logPi, fluency } of first?.rows ?? []) expect(logPi).toBeCloseTo(fluency, 4);
  expect(second?.metrics.logZ).not.toBe(0);
});

test('an objective that learns no log Z reports none', async () => {
  const { records } = await train(optionsOf({ objective: varGrad() }), { name: 'no-log-z' });
  expect(records[0]?.metrics).not.toHaveProperty('logZ');
});

const OBJECTIVES: readonly Objective[] = [
  trajectoryBalance(),
  { ...trajectoryBalance({ huber: 1 }), name: 'tb-huber' },
  varGrad(),
  { ...varGrad({ huber: 1 }), name: 'vargrad-huber' },
  contrastiveBalance({ sigma: 0.5, huber: 1 }),
];

describe.each(OBJECTIVES)('an update of $name', (objective) => {
  test.each([
    ['4 micro-batches of 8', 8, 4],
    ['one of 24 and a shorter one', 24, 4 / 3],
  ])('in %s has the gradient of one batch of 32', async (_name, batchSize, accumulation) => {
    const fresh = { objective, freshShare: 1 };
    const name = `${objective.name}-${batchSize}`;
    const whole = await train(optionsOf(fresh), { name: `${name}-whole` });
    const parts = await train(optionsOf({ ...fresh, batchSize, accumulation }), { name: `${name}-parts` });
    expect(whole.records[0]?.rows).toHaveLength(32);
    expect(parts.records[0]?.rows.map(({ text }) => text)).toEqual(whole.records[0]?.rows.map(({ text }) => text));
    expect(Math.max(...whole.gradient.map(Math.abs))).toBeGreaterThan(0.01);
    expect(relativeError(parts.gradient, whole.gradient)).toBeLessThan(1e-4);
    expect(parts.records[0]?.metrics.loss).toBeCloseTo(whole.records[0]?.metrics.loss as number, 3);
  });
});

test('an objective without graph weights of its own learns the same, by a forward pass first', async () => {
  const { batchWeights: _onePass, ...plain } = varGrad();
  const byGraph = await train(optionsOf({ objective: varGrad() }), { name: 'by-graph' });
  const byGradient = await train(optionsOf({ objective: plain }), { name: 'by-gradient' });
  expect(relativeError(byGradient.gradient, byGraph.gradient)).toBeLessThan(1e-4);
});

test('log Z has its own learning rate', async () => {
  const size = world.referenceParameters.data.length;
  const before = [...world.referenceParameters.data];
  const still = await train(optionsOf({ learningRate: rateOf(0) }), { name: 'still' });
  expect([...still.parameters.subarray(0, size)]).toEqual(before);
  expect(Math.max(...still.parameters.subarray(size).map(Math.abs))).toBeCloseTo(1e-2, 5);
  const fixed = await train(optionsOf({ logZLearningRate: rateOf(0) }), { name: 'fixed' });
  expect([...fixed.parameters.subarray(size)].every((value) => value === 0)).toBe(true);
  expect([...fixed.parameters.subarray(0, size)]).not.toEqual(before);
});

const AS_IT_IS = { updates: 6, rescoreReplay: true };
const WITH_ALL_OPTIONS = {
  objective: trajectoryBalance({ huber: 2 }),
  updates: 12, // the surrogate chooses after 64 attacks
  updatesPerBatch: 2,
  rewriteShare: 0.5,
  mix: { clusters: 0.5, failures: 0.25 },
  spread: { eta: 1, n0: 1, cosine: 0.75 },
  screen: { candidates: 2, controlShare: 0.25, minCorrelation: -1 },
  fluency: { form: { kind: 'capped', cap: -1.5 }, minTokens: 1, shortPenalty: 0 },
} as const;

test.each([
  ['as it is', AS_IT_IS],
  [
    'with replayed updates, a mixed draw, rewrites, a capped fluency, a spread reward, bounded residuals, a screen and cycles',
    WITH_ALL_OPTIONS,
  ],
  ['with all of these and a batch asked ahead', { ...WITH_ALL_OPTIONS, askedAhead: 1 }],
])('%s, stopped, interrupted and continued, it is the uninterrupted run byte for byte', async (label, changes) => {
  const cycles = { count: 2, updates: 3, learningRate: 1e-3, start: world.referenceParameters.data };
  const options = optionsOf({ ...changes, ...(changes === AS_IT_IS ? {} : { cycles }) });
  const reward = world.sampledReward(3);
  const whole = await train(options, { name: `uninterrupted ${label}`, reward });
  const pieces = [
    await train(options, { name: `cut ${label}`, reward, stopAfter: 2 }),
    await train(options, { name: `cut ${label}`, reward, abortIn: 3 }),
    await train(options, { name: `cut ${label}`, reward }),
  ];
  expect(pieces.map(({ done }) => done)).toEqual([2, 'interrupted', options.updates]);
  expect(pieces.map(({ caller }) => caller)).toEqual([undefined, { told: 2 }, { told: 2 }]);
  const records = pieces.flatMap((piece) => piece.records);
  expect(records.map(withoutClock)).toEqual(whole.records.map(withoutClock));
  expect(records.some(({ rows }) => rows.some(({ source }) => source === 'replay'))).toBe(true);
  expect(Buffer.from(pieces[2]?.parameters.buffer as ArrayBuffer)).toEqual(Buffer.from(whole.parameters.buffer));
  expect(pieces[2]?.contents).toStrictEqual(whole.contents);
  expect(pieces[2]?.clusters).toStrictEqual(whole.clusters);
  expect(pieces[2]?.restoredClusters).toStrictEqual(changes === AS_IT_IS ? undefined : pieces[1]?.clusters);
  expect(whole.clusters.members.length > 0).toBe(changes !== AS_IT_IS);
  const rows = records.flatMap((record) => record.rows);
  for (const wanted of ['rewritten', 'screened']) {
    expect(rows.some(({ source }) => source === wanted)).toBe(changes !== AS_IT_IS);
  }
  expect(rows.some(({ neighbours }) => neighbours !== undefined && neighbours > 1)).toBe(changes !== AS_IT_IS);
});

test('attacks without a score are reported beside the rows, and teach nothing', async () => {
  const half: RewardFunction<unknown> = async (requests) =>
    (await world.reward(requests)).map((result, i) => (i % 2 === 0 ? { ...result, score: undefined } : result));
  const { records } = await train(optionsOf(), { name: 'unscored', reward: half });
  expect(records[0]?.rows).toHaveLength(8);
  expect(records[0]?.unscored).toHaveLength(8);
});

describe('cycles', () => {
  const cyclesOf = (count: number) => ({
    count,
    updates: 4,
    learningRate: 1e-3,
    start: world.referenceParameters.data,
  });

  test('begin where the stage is cut into equal parts', () => {
    const starts = (count: number, updates: number) =>
      Array.from({ length: updates }, (_, update) => update).filter((update) => startsCycle(count, updates, update));
    expect(starts(1, 10)).toEqual([]);
    expect(starts(4, 10)).toEqual([3, 5, 8]);
    expect(starts(2, 6)).toEqual([3]);
  });

  test('refit the policy from the reference to the successes: they gain likelihood, and what was learned is gone', async () => {
    const plain = await train(optionsOf({ updates: 4 }), { name: 'one cycle' });
    const cut = await train(optionsOf({ updates: 4, cycles: cyclesOf(2) }), { name: 'two cycles' });
    const rowsAt = ({ records }: typeof plain, update: number) => records[update]?.rows ?? [];
    // The same until the refit; from then on other attacks.
    expect(rowsAt(cut, 1)).toEqual(rowsAt(plain, 1));
    expect(rowsAt(cut, 2)).not.toEqual(rowsAt(plain, 2));
    const replayed = rowsAt(cut, 2).filter(({ source, score }) => source === 'replay' && score.meanUnsafe > 0.5);
    expect(replayed.length).toBeGreaterThan(0);
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    // log p_ref is the fluency here: the refitted policy prefers the successes to the reference's other attacks.
    expect(mean(replayed.map(({ logPi, fluency }) => logPi - fluency))).toBeGreaterThan(0.05);
  });

  test('without a success change nothing', async () => {
    const never: RewardFunction<unknown> = async (requests) =>
      requests.map(() => ({ score: { logS: -5, meanUnsafe: 0.1, responses: 1 }, evidence: null }));
    const options = optionsOf({ updates: 3 });
    const plain = await train(options, { name: 'never, one cycle', reward: never });
    const cut = await train({ ...options, cycles: cyclesOf(3) }, { name: 'never, three', reward: never });
    expect(cut.records.map(withoutClock)).toEqual(plain.records.map(withoutClock));
  });

  test('interrupted in a refit, the update is undone and nothing is lost', async () => {
    const options = optionsOf({ updates: 4, cycles: cyclesOf(2) });
    const whole = await train(options, { name: 'refit whole' });
    const first = await train(options, { name: 'refit cut', abortIn: 1 });
    expect(first.done).toBe('interrupted');
    const second = await train(options, { name: 'refit cut' });
    expect([...first.records, ...second.records].map(withoutClock)).toEqual(whole.records.map(withoutClock));
  });
});
