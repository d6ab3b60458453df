import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  areaUnderWays,
  callsToWays,
  trainingFinds,
  waysFoundAt,
  wordingsFoundAt,
} from '../../../lab/claims/discovery.ts';
import { decideGoals, GOALS } from '../../../lab/claims/goals.ts';
import type { GroundResults } from '../../../lab/claims/part-file.ts';
import type { AttackerFigures, SeedResult } from '../../../lab/claims/seed-result.ts';
import type { SentenceEncoder } from '../../../src/models/encoder/text-encoder.ts';
import type { StoreQueries } from '../../../src/runs/store/queries.ts';
import type { StoredAttack } from '../../../src/runs/store/records.ts';

const figures = (asr: number, ways: number, foundAt: readonly number[] = []): AttackerFigures => ({
  asr,
  ways,
  wordings: 10,
  targetCalls: 1000,
  foundAt: [...foundAt],
});

describe('the discovery of ways', () => {
  const attack = (text: string, meanUnsafe: number | null, responseCount = 1): Partial<StoredAttack> => ({
    text,
    meanUnsafe,
    responseCount,
  });
  const tried = [
    attack('a', 0.9),
    attack('b', 0.2),
    attack('a again', 0.9, 0), // replayed: asked nobody
    attack('c', 0.8, 3),
    attack('d', null, 2),
    attack('a c', 0.7),
  ];
  const store = {
    attacks: ({ stage }: { stage: string }) => (stage === 'gflownet' ? tried : []),
  } as unknown as StoreQueries;

  it('is read from the successes of training, after the calls that were used by then', () => {
    const finds = [
      { text: 'a', calls: 1 },
      { text: 'c', calls: 5 },
      { text: 'a c', calls: 8 },
    ];
    expect(trainingFinds(store, 'gflownet')).toEqual({ asked: 8, finds });
    expect(trainingFinds(store, 'smoothing')).toEqual({ asked: 8, finds });
    expect(trainingFinds(store, 'sft')).toEqual({ asked: 0, finds: [] });
    expect(waysFoundAt(finds, [[0], [], [0, 3, 1]])).toEqual([1, 8, 8]);
  });

  it('of wordings takes the first of each', async () => {
    const rows: Readonly<Record<string, readonly number[]>> = { a: [1, 0], b: [0, 1], a2: [0.8, 0.6] };
    const encoder = {
      width: 2,
      embed: async (texts: readonly string[]) => new Float32Array(texts.flatMap((text) => rows[text] ?? [])),
    } as unknown as SentenceEncoder;
    const finds = ['a', 'a2', 'b'].map((text, i) => ({ text, calls: 10 * (i + 1) }));
    expect(await wordingsFoundAt(finds, encoder)).toEqual([10, 30]);
    expect(await wordingsFoundAt([], encoder)).toEqual([]);
  });

  it('has the mean number of known ways as its area', () => {
    expect(areaUnderWays([0, 50, 100, 200], 100)).toBeCloseTo(1.5, 12);
    expect(areaUnderWays([], 100)).toBe(0);
    expect(callsToWays([5, 9, 30], 2)).toBe(9);
    expect(callsToWays([5, 9, 30], 4)).toBeUndefined();
    expect(callsToWays([5], 0)).toBeUndefined();
  });
});

describe('the goals', () => {
  const results = (seeds: readonly SeedResult[], ground = 'made', budget = 10_000): GroundResults => ({
    ground,
    budget,
    seeds,
  });
  const good = (seed: number): SeedResult => ({
    seed,
    attackers: {
      gflownet: figures(0.8, 0.9, [10, 20, 30]),
      smoothing: figures(0.9, 0.96 + seed / 1000, [10, 20, 30]),
      'ppo-smoothing': figures(0.8, 0.8, [1000, 9000]),
      'best-of-n': figures(0.15, 0.6),
    },
    reference: { gflownet: figures(0.5, 0.5, [100, 400]) },
  });
  const verdicts = (of: GroundResults) => decideGoals(of).map(({ id, verdict }) => `${id} ${verdict}`);

  it('are reached, or not, by their figures', () => {
    const all = [0, 1, 2].map(good);
    expect(new Set(verdicts(results(all)))).toEqual(new Set(['G1 reached', 'G6 reached']));
    const efficiency = decideGoals(results(all)).at(-1);
    expect(efficiency?.measure.value).toBeCloseTo(20, 12); // two ways after 400 and after 20 calls
    const weak = all.map((seed) => ({ ...seed, attackers: { ...seed.attackers, smoothing: figures(0.9, 0.85) } }));
    expect(verdicts(results(weak))).toEqual([
      'G1 not reached',
      'G1 not reached',
      'G1 reached',
      'G1 reached',
      'G1 reached',
      'G1 reached',
      'G6 reached',
    ]);
  });

  it('of one bad seed are missed by the worst, and an interval that covers 0 or 1 reaches nothing', () => {
    const bad = { ...good(2), attackers: { ...good(2).attackers, smoothing: figures(0.9, 0.7) } };
    const of = results([good(0), good(1), bad]);
    const missed = decideGoals(of).filter(({ verdict }) => verdict !== 'reached');
    expect(missed.map(({ name }) => name)).toEqual([
      'ways of smoothing, mean',
      'ways of smoothing, worst seed',
      'ways: smoothing - ppo-smoothing',
    ]);
    const areas = (ours: readonly number[]) =>
      decideGoals(
        results(
          ours.map((at, seed) => ({
            seed,
            attackers: { smoothing: figures(1, 1, [at]), 'ppo-smoothing': figures(1, 1, [1500]) },
          })),
          'smollm2',
          2_000,
        ),
      ).find(({ name }) => name === 'area under ways: smoothing / ppo-smoothing');
    expect(areas([100, 200, 300])?.verdict).toBe('reached');
    expect(areas([0, 1999, 0])?.verdict).toBe('not reached');
    expect(areas([0, 1999, 0])?.measure.value).toBeGreaterThan(1.3);
  });

  it('are not measured where nothing was', () => {
    const empty = decideGoals(results([{ seed: 0, attackers: {} }], 'smollm2', 500));
    expect(empty.length).toBeGreaterThan(0);
    for (const { verdict } of empty) expect(verdict).toBe('not measured');
    expect(decideGoals(results([good(0)], 'gemma', 10_000))).toEqual([]);
  });

  it('stand in docs/claims.md, each with its numbers', () => {
    const page = readFileSync(new URL('../../../docs/claims.md', import.meta.url), 'utf8');
    for (const { id, grounds, parts } of GOALS) {
      const [, after = ''] = page.split(`| ${id} |`);
      const rows = after.split(/\n\| [^ |]|\n\n/)[0] ?? '';
      for (const { goal } of parts) {
        for (const number of goal.match(/\d+(\.\d+)?/g) ?? []) expect(rows, id).toContain(number);
      }
      if (grounds.length === 1) expect(rows).toContain(`\`${grounds[0]}\``);
    }
  });
});
