import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { drawMixed, type MixRule } from '../../../src/learning/replay/mixed-draw.ts';
import { createReplayBuffer, type ReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import type { ReplayEntry } from '../../../src/learning/replay/replay-entry.ts';
import { WordingClusters } from '../../../src/learning/replay/wording-clusters.ts';
import { arbitraryCandidate, candidateOf, logRewardAt } from './replay-buffer-model.ts';

const logReward = logRewardAt(1);
const at = (degrees: number) =>
  Float32Array.of(Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180));

/** Thirty successes of one wording, one of another, and twenty failures. */
function buffered(): ReplayBuffer {
  const buffer = createReplayBuffer({ nearEditRatio: null });
  const insert = (token: number, meanUnsafe: number, degrees: number) =>
    buffer.insert(candidateOf([token], { meanUnsafe, logS: Math.log(meanUnsafe), embedding: at(degrees) }), logReward);
  for (let i = 0; i < 30; i++) insert(i, 0.9, i / 10);
  insert(100, 0.6, 90);
  for (let i = 0; i < 20; i++) insert(200 + i, 0.01, i * 18);
  return buffer;
}

const isFailure = ({ tokens }: ReplayEntry) => (tokens[0] as number) >= 200;
const isRare = ({ tokens }: ReplayEntry) => tokens[0] === 100;

const draw = (buffer: ReplayBuffer, mix: MixRule, count: number, round: number) =>
  drawMixed(buffer, new WordingClusters(0.75), mix, { count, stream: randomStream(5, 'draw', round) });

/** Share of 2,000 draws of one row each. */
function shareOf(mix: MixRule, isWanted: (entry: ReplayEntry) => boolean): number {
  const buffer = buffered();
  const rows = Array.from({ length: 2000 }, (_, round) => draw(buffer, mix, 1, round)[0] as ReplayEntry);
  return rows.filter(isWanted).length / rows.length;
}

describe('a mixed draw', () => {
  test('from clusters takes each wording of the successes equally often, however many attacks it has', () => {
    expect(shareOf({ clusters: 1, failures: 0 }, isRare)).toBeCloseTo(1 / 2, 1);
    expect(shareOf({ clusters: 1, failures: 0 }, isFailure)).toBe(0);
  });

  test('by log S alone takes them as their scores say', () => {
    const total = 30 * 0.9 + 0.6 + 20 * 0.01;
    expect(shareOf({ clusters: 0, failures: 0 }, isRare)).toBeCloseTo(0.6 / total, 1);
    expect(shareOf({ clusters: 0, failures: 0 }, isFailure)).toBeLessThan(0.03);
  });

  test('from failures takes nothing else', () => {
    expect(shareOf({ clusters: 0, failures: 1 }, isFailure)).toBe(1);
  });

  test('has the wanted numbers of rows, each entry once', () => {
    const rows = draw(buffered(), { clusters: 0.25, failures: 0.5 }, 16, 0);
    expect(rows.slice(0, 4).some(isFailure)).toBe(false);
    expect(rows.slice(4, 12).every(isFailure)).toBe(true);
    expect(new Set(rows.map(({ id }) => id)).size).toBe(16);
    // Of 31 successes, ten by cluster and ten by log S: without care, some would come twice.
    const successes = draw(buffered(), { clusters: 0.5, failures: 0 }, 20, 0);
    expect(new Set(successes.map(({ id }) => id)).size).toBe(20);
  });

  test('fills up by log S where a share finds too few, and gives all of a small buffer', () => {
    const buffer = buffered();
    const rows = draw(buffer, { clusters: 0, failures: 1 }, 30, 0);
    expect(rows.filter(isFailure)).toHaveLength(20);
    expect(rows).toHaveLength(30);
    expect(draw(buffer, { clusters: 0.5, failures: 0.5 }, 500, 0)).toHaveLength(51);
  });
});

describe('wording clusters', () => {
  const entry = (id: number, degrees: number, meanUnsafe = 1): ReplayEntry => ({
    ...candidateOf([id], { meanUnsafe, embedding: at(degrees) }),
    id,
  });
  const slots = (clusters: WordingClusters, ...ids: number[]) => ids.map((id) => clusters.clusterOf(id));

  test('join the nearest leader above the cosine; failures are in none until they succeed', () => {
    const clusters = new WordingClusters(0.75);
    clusters.follow([entry(1, 0), entry(2, 60), entry(3, 35), entry(4, 20), entry(5, 0, 0.1)]);
    expect(slots(clusters, 1, 2, 3, 4, 5)).toEqual([0, 1, 1, 0, undefined]);
    clusters.follow([entry(1, 0), entry(2, 60), entry(3, 35), entry(4, 20), entry(5, 0, 0.9)]);
    expect(slots(clusters, 1, 2, 3, 4, 5)).toEqual([0, 1, 1, 0, 0]);
  });

  test('keep a leader whose entry left while there are members, then give its slot away', () => {
    const clusters = new WordingClusters(0.75);
    clusters.follow([entry(1, 0), entry(2, 30), entry(3, 180)]);
    clusters.follow([entry(2, 30), entry(3, 180), entry(4, -30)]); // 60 degrees from entry 2, 30 from the leader
    expect(slots(clusters, 1, 2, 3, 4)).toEqual([undefined, 0, 1, 0]);
    clusters.follow([entry(3, 180), entry(5, 90)]);
    expect(slots(clusters, 2, 3, 4, 5)).toEqual([undefined, 1, undefined, 0]);
  });

  test('are never more than the most: a further success joins the nearest', () => {
    const clusters = new WordingClusters(0.9, undefined, 2);
    clusters.follow([entry(1, 0), entry(2, 90), entry(3, 200)]);
    expect(slots(clusters, 1, 2, 3)).toEqual([0, 1, 1]);
  });

  test('need an embedding of their width', () => {
    const { embedding: _none, ...bare } = entry(1, 0);
    expect(() => new WordingClusters(0.75).follow([bare])).toThrow(/got none/);
    const wide = { ...entry(2, 0), embedding: Float32Array.of(1, 0, 0) };
    expect(() => new WordingClusters(0.75).follow([entry(1, 0), wide])).toThrow(/got width 3, expected 2/);
  });

  test('saved and restored at any point, are the same ones to the last bit', () => {
    const candidates = fc.array(arbitraryCandidate, { minLength: 1, maxLength: 40 });
    const run = fc.property(candidates, fc.nat(39), fc.nat(3), (all, cut, changes) => {
      const entries = all.map(
        (candidate, id): ReplayEntry => ({
          ...candidate,
          score: { ...candidate.score, meanUnsafe: (id % 3) / 2 },
          id,
        }),
      );
      const whole = new WordingClusters(0.75, undefined, 4);
      let cutOne = new WordingClusters(0.75, undefined, 4);
      for (let end = 1; end <= entries.length; end++) {
        const present = entries.slice(Math.max(0, end - 6 - changes), end);
        whole.follow(present);
        if (end === cut) cutOne = new WordingClusters(0.75, JSON.parse(JSON.stringify(cutOne.state())), 4);
        cutOne.follow(present);
        cutOne.follow(present);
        expect(cutOne.state()).toEqual(whole.state());
      }
    });
    fc.assert(run, { seed: 4, numRuns: 200 });
  });

  test('of a damaged checkpoint are refused', () => {
    const clusters = new WordingClusters(0.75);
    clusters.follow([entry(1, 0), entry(2, 90)]);
    const state = clusters.state();
    for (const broken of [
      { ...state, width: 3 },
      { ...state, members: [[1, 2]] as const },
      { ...state, leaders: '' },
    ]) {
      expect(() => new WordingClusters(0.75, broken)).toThrow(/restore wording clusters: saved state is damaged/);
    }
  });
});
