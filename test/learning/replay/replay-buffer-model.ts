import fc from 'fast-check';
import { editDistance } from '../../../src/learning/replay/near-duplicates.ts';
import type {
  InsertOutcome,
  LogRewardOf,
  ReplayBufferOptions,
  ReplayCandidate,
  ReplayEntry,
} from '../../../src/learning/replay/replay-entry.ts';
import type { JudgeScore } from '../../../src/learning/reward/reward.ts';

/** A candidate with everything filled in. */
export function candidateOf(
  tokens: readonly number[],
  given: Partial<ReplayCandidate> & Partial<JudgeScore> = {},
): ReplayCandidate {
  const { logS = -1, meanUnsafe = 0.4, responses = 2, ...rest } = given;
  return {
    tokens,
    terminated: true,
    text: tokens.join(' '),
    source: 'fresh',
    fluency: -10,
    score: { logS, meanUnsafe, responses },
    addedAtUpdate: 0,
    ...rest,
  };
}

export const logRewardAt =
  (gamma: number): LogRewardOf =>
  ({ fluency, score }) =>
    fluency / gamma + score.logS / 0.1;

/** Few distinct tokens and lengths, so that near-duplicates, exact duplicates and ties are common. */
export const arbitraryCandidate: fc.Arbitrary<ReplayCandidate> = fc
  .record({
    tokens: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 9 }),
    terminated: fc.boolean(),
    fluency: fc.integer({ min: -30, max: -20 }),
    logS: fc.integer({ min: -3, max: 0 }),
    responses: fc.integer({ min: 1, max: 3 }),
    angle: fc.integer({ min: 0, max: 11 }),
  })
  .map(({ tokens, angle, ...rest }) =>
    candidateOf(tokens, {
      ...rest,
      embedding: Float32Array.of(Math.cos((angle * Math.PI) / 6), Math.sin((angle * Math.PI) / 6)),
    }),
  );

/** The buffer's rules once more, by full scans over a plain array: the yardstick for every index. */
export class ScanningBuffer {
  readonly entries: ReplayEntry[] = [];
  private readonly options: ReplayBufferOptions;
  private nextId = 1;

  constructor(options: ReplayBufferOptions) {
    this.options = options;
  }

  insert(candidate: ReplayCandidate, logReward: LogRewardOf): InsertOutcome {
    const rank = (by: 'judge' | 'reward', entry: ReplayCandidate) =>
      by === 'judge' ? entry.score.logS : logReward(entry);
    const same = this.entries.findIndex(
      (e) => e.terminated === candidate.terminated && JSON.stringify(e.tokens) === JSON.stringify(candidate.tokens),
    );
    if (same >= 0) return this.merge(same, candidate);
    const near = this.entries
      .map((entry, slot) => ({ entry, slot, closeness: this.closeness(entry, candidate) }))
      .filter(({ closeness }) => closeness < 1)
      .sort((a, b) => a.closeness - b.closeness || a.entry.id - b.entry.id)[0];
    if (near !== undefined) {
      const { replaceBy } = this.options;
      if (rank(replaceBy, candidate) <= rank(replaceBy, near.entry)) {
        return { kind: 'near-duplicate-rejected', nearest: near.entry.id };
      }
      return { kind: 'replaced', replaced: near.entry.id, id: this.put(near.slot, candidate) };
    }
    if (this.entries.length < this.options.capacity) {
      return { kind: 'inserted', id: this.put(this.entries.length, candidate) };
    }
    const { evictBy } = this.options;
    const lowest = [...this.entries].sort(
      (a, b) => rank(evictBy, a) - rank(evictBy, b) || a.id - b.id,
    )[0] as ReplayEntry;
    if (rank(evictBy, candidate) <= rank(evictBy, lowest)) return { kind: 'evicted-self' };
    return { kind: 'inserted-evicting', evicted: lowest.id, id: this.put(this.entries.indexOf(lowest), candidate) };
  }

  private put(slot: number, candidate: ReplayCandidate): number {
    this.entries[slot] = { ...candidate, id: this.nextId };
    return this.nextId++;
  }

  private merge(slot: number, candidate: ReplayCandidate): InsertOutcome {
    const stored = this.entries[slot] as ReplayEntry;
    if (this.options.rescore === 'keep-higher') {
      if (candidate.score.logS <= stored.score.logS) return { kind: 'duplicate-kept', id: stored.id };
      this.entries[slot] = { ...stored, score: { ...candidate.score } };
      return { kind: 'duplicate-raised', id: stored.id };
    }
    const [m, n] = [stored.score.responses, candidate.score.responses];
    this.entries[slot] = {
      ...stored,
      score: {
        logS: (stored.score.logS * m + candidate.score.logS * n) / (m + n),
        meanUnsafe: (stored.score.meanUnsafe * m + candidate.score.meanUnsafe * n) / (m + n),
        responses: m + n,
      },
    };
    return { kind: 'duplicate-averaged', id: stored.id };
  }

  private closeness(stored: ReplayCandidate, candidate: ReplayCandidate): number {
    const { nearEditRatio, nearCosine } = this.options;
    const found: number[] = [Number.POSITIVE_INFINITY];
    if (nearEditRatio !== null) {
      const threshold = nearEditRatio * (stored.tokens.length + candidate.tokens.length);
      const distance = editDistance(stored.tokens, candidate.tokens);
      if (distance < threshold) found.push(distance / threshold);
    }
    if (nearCosine !== null && stored.embedding !== undefined && candidate.embedding !== undefined) {
      let cosine = 0;
      for (const [d, x] of stored.embedding.entries()) cosine += x * (candidate.embedding[d] as number);
      if (cosine > nearCosine) found.push(Math.max(0, 1 - cosine) / (1 - nearCosine));
    }
    return Math.min(...found);
  }
}
