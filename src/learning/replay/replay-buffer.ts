import { FloodgateError } from '../../base/errors.ts';
import { gumbelTopK, type RandomStream } from '../../base/random.ts';
import { averageScores, type JudgeScore } from '../reward/reward.ts';
import { LowestFirstHeap } from './lowest-first-heap.ts';
import { EmbeddingNeighbourIndex, type Neighbour, nearer, TokenNeighbourIndex } from './near-duplicates.ts';
import {
  type InsertOutcome,
  type LogRewardOf,
  NO_OUTCOMES,
  type OutcomeCounts,
  type RankBy,
  REPLAY_BUFFER_DEFAULTS,
  type ReplayBufferOptions,
  type ReplayCandidate,
  type ReplayEntry,
  sequenceKey,
} from './replay-entry.ts';

/** The whole content of a buffer: entries in storage order (sampling reads it), the next id, the counts. */
export interface ReplayBufferContents {
  readonly entries: readonly ReplayEntry[];
  readonly nextId: number;
  readonly counts: OutcomeCounts;
}

export interface SampleOptions {
  /** `judge`: p = softmax(logS), not divided by beta. `reward`: p = softmax(log R). */
  readonly by: RankBy | 'uniform';
  readonly logReward: LogRewardOf;
  readonly stream: RandomStream;
}

const judgeRank: LogRewardOf = (entry) => entry.score.logS;

/**
 * A bounded store of attacks without near-duplicates. The rules, in order, for an offered attack:
 * 1. the same sequence is stored already: its score is merged (`rescore`);
 * 2. it is a near-duplicate: it is compared with the *nearest* stored attack (smallest distance relative to its
 *    threshold, the older on a tie), replaces it if strictly higher, and is dropped otherwise;
 * 3. there is room: it is stored;
 * 4. the buffer is full: it replaces the lowest entry (the older of equals) if strictly higher.
 */
export class ReplayBuffer {
  readonly options: ReplayBufferOptions;
  /** Dense: slots 0..size-1. A new entry is appended or takes the slot of the one that it removes. */
  private readonly entries: ReplayEntry[] = [];
  private readonly slotOfSequence = new Map<string, number>();
  private readonly slotOfId = new Map<number, number>();
  private readonly tokenIndex: TokenNeighbourIndex | undefined;
  private readonly embeddingIndex: EmbeddingNeighbourIndex | undefined;
  private readonly outcomes: Record<InsertOutcome['kind'], number>;
  private heap = new LowestFirstHeap();
  /** The rank behind the heap's keys; undefined before the first insertion. */
  private heapRank: LogRewardOf | undefined;
  private nextId: number;

  constructor(options: ReplayBufferOptions, contents: ReplayBufferContents) {
    if (!Number.isSafeInteger(options.capacity) || options.capacity < 1) {
      throw new FloodgateError(
        'config',
        `replay buffer: capacity is invalid, got ${options.capacity}, expected a whole number >= 1`,
      );
    }
    this.options = options;
    this.tokenIndex = options.nearEditRatio === null ? undefined : new TokenNeighbourIndex(options.nearEditRatio);
    this.embeddingIndex = options.nearCosine === null ? undefined : new EmbeddingNeighbourIndex(options.nearCosine);
    this.outcomes = { ...contents.counts };
    this.nextId = contents.nextId;
    for (const entry of contents.entries) {
      this.embeddingIndex?.requireFitting(entry.embedding);
      this.store(this.entries.length, entry);
    }
  }

  get size(): number {
    return this.entries.length;
  }

  /** How often each outcome occurred since the buffer was created, resumes included. */
  get counts(): OutcomeCounts {
    return { ...this.outcomes };
  }

  /** All entries in storage order. */
  all(): readonly ReplayEntry[] {
    return [...this.entries];
  }

  get(id: number): ReplayEntry | undefined {
    const slot = this.slotOfId.get(id);
    return slot === undefined ? undefined : this.entries[slot];
  }

  /**
   * Offers one attack. O(log n) beside the neighbour search; with rank `reward`, a new `logReward` function re-keys the
   * whole buffer once (O(n log n)), so pass the same function for all attacks of one update.
   * @throws FloodgateError `usage` when the score, fluency or embedding cannot be used; the buffer is then unchanged.
   */
  insert(candidate: ReplayCandidate, logReward: LogRewardOf): InsertOutcome {
    assertUsable(candidate);
    const embedding = this.embeddingIndex?.requireFitting(candidate.embedding);
    this.keyHeapBy(this.options.evictBy === 'judge' ? judgeRank : logReward);
    const outcome = this.place(candidate, embedding, logReward);
    this.outcomes[outcome.kind] += 1;
    return outcome;
  }

  /** Averages new responses into an entry (re-scoring on replay). Returns false when it has left the buffer. */
  rescore(id: number, score: JudgeScore): boolean {
    assertScore(score);
    const slot = this.slotOfId.get(id);
    if (slot === undefined) return false;
    this.setScore(slot, averageScores((this.entries[slot] as ReplayEntry).score, score));
    return true;
  }

  /** Up to `count` distinct entries, drawn without replacement in log space; all of them when fewer are stored. */
  sample(count: number, { by, logReward, stream }: SampleOptions): ReplayEntry[] {
    const logWeight: LogRewardOf = by === 'uniform' ? () => 0 : by === 'judge' ? judgeRank : logReward;
    return this.draw(count, logWeight, stream);
  }

  /** As `sample`, with a log weight for each entry; one without a weight is never drawn. */
  draw(count: number, logWeight: (entry: ReplayEntry) => number | undefined, stream: RandomStream): ReplayEntry[] {
    const weighted = this.entries.flatMap((entry) => {
      const weight = logWeight(entry);
      return weight === undefined ? [] : [{ entry, weight: finiteRank(weight, entry) }];
    });
    const logWeights = weighted.map(({ weight }) => weight);
    return gumbelTopK(logWeights, count, stream).map((i) => (weighted[i] as (typeof weighted)[number]).entry);
  }

  /** Everything needed to build an equal buffer; see `serialiseReplayBuffer`. */
  contents(): ReplayBufferContents {
    return { entries: this.all(), nextId: this.nextId, counts: this.counts };
  }

  private place(
    candidate: ReplayCandidate,
    embedding: Float32Array | undefined,
    logReward: LogRewardOf,
  ): InsertOutcome {
    const same = this.slotOfSequence.get(sequenceKey(candidate));
    if (same !== undefined) return this.mergeDuplicate(same, candidate);

    const nearest = this.nearestNeighbour(candidate, embedding);
    if (nearest !== undefined) {
      const rank = this.options.replaceBy === 'judge' ? judgeRank : logReward;
      const stored = this.entries[nearest.slot] as ReplayEntry;
      const isHigher = finiteRank(rank(candidate), candidate) > finiteRank(rank(stored), stored);
      if (!isHigher) return { kind: 'near-duplicate-rejected', nearest: nearest.id };
      return { kind: 'replaced', id: this.storeNew(nearest.slot, candidate), replaced: nearest.id };
    }

    if (this.size < this.options.capacity) return { kind: 'inserted', id: this.storeNew(this.size, candidate) };

    const slot = this.heap.lowest() as number;
    const lowest = this.entries[slot] as ReplayEntry;
    const isAbove = this.evictionKey(candidate) > (this.heap.keyOf(slot) as number);
    if (!isAbove) return { kind: 'evicted-self' };
    return { kind: 'inserted-evicting', id: this.storeNew(slot, candidate), evicted: lowest.id };
  }

  private mergeDuplicate(slot: number, candidate: ReplayCandidate): InsertOutcome {
    const stored = this.entries[slot] as ReplayEntry;
    if (this.options.rescore === 'average') {
      this.setScore(slot, averageScores(stored.score, candidate.score));
      return { kind: 'duplicate-averaged', id: stored.id };
    }
    // The same sequence has the same fluency, so the higher logS is the higher reward too.
    if (candidate.score.logS <= stored.score.logS) return { kind: 'duplicate-kept', id: stored.id };
    this.setScore(slot, candidate.score);
    return { kind: 'duplicate-raised', id: stored.id };
  }

  private nearestNeighbour(candidate: ReplayCandidate, embedding: Float32Array | undefined): Neighbour | undefined {
    const byTokens = this.tokenIndex?.nearest(candidate.tokens);
    const byMeaning = embedding === undefined ? undefined : this.embeddingIndex?.nearest(embedding);
    return nearer(byTokens, byMeaning);
  }

  private storeNew(slot: number, candidate: ReplayCandidate): number {
    const id = this.nextId;
    const { source, tokens, terminated, text, logPRef, fluency, score, addedAtUpdate, embedding } = candidate;
    this.store(slot, {
      id,
      source,
      tokens: [...tokens],
      terminated,
      text,
      ...(logPRef === undefined ? {} : { logPRef }),
      fluency,
      score: plainScore(score),
      addedAtUpdate,
      // A copy: the caller's array may be a view into a batch that is reused.
      ...(embedding === undefined ? {} : { embedding: embedding.slice() }),
    });
    this.nextId += 1;
    return id;
  }

  private store(slot: number, entry: ReplayEntry): void {
    const key = this.heapRank === undefined ? undefined : this.evictionKey(entry);
    const former = this.entries[slot];
    if (former !== undefined) {
      this.slotOfSequence.delete(sequenceKey(former));
      this.slotOfId.delete(former.id);
    }
    this.entries[slot] = entry;
    this.slotOfSequence.set(sequenceKey(entry), slot);
    this.slotOfId.set(entry.id, slot);
    this.tokenIndex?.set(slot, entry.id, entry.tokens);
    if (this.embeddingIndex !== undefined && entry.embedding !== undefined) {
      this.embeddingIndex.set(slot, entry.id, entry.embedding);
    }
    if (key !== undefined) this.heap.set(slot, key, entry.id);
  }

  private setScore(slot: number, score: JudgeScore): void {
    const entry: ReplayEntry = { ...(this.entries[slot] as ReplayEntry), score: plainScore(score) };
    const key = this.heapRank === undefined ? undefined : this.evictionKey(entry);
    this.entries[slot] = entry;
    if (key !== undefined) this.heap.set(slot, key, entry.id);
  }

  private keyHeapBy(rank: LogRewardOf): void {
    if (this.heapRank === rank) return;
    const keys = this.entries.map((entry) => finiteRank(rank(entry), entry));
    this.heap = new LowestFirstHeap();
    keys.forEach((key, slot) => {
      this.heap.set(slot, key, (this.entries[slot] as ReplayEntry).id);
    });
    this.heapRank = rank;
  }

  private evictionKey(entry: ReplayCandidate): number {
    return finiteRank((this.heapRank ?? judgeRank)(entry), entry);
  }
}

/** An empty buffer; options left out take the defaults. @throws FloodgateError `config` when one is out of range. */
export function createReplayBuffer(options: Partial<ReplayBufferOptions> = {}): ReplayBuffer {
  return new ReplayBuffer({ ...REPLAY_BUFFER_DEFAULTS, ...options }, { entries: [], nextId: 1, counts: NO_OUTCOMES });
}

/** The score alone, with -0 (a mean of log 1) as 0: JSON has no -0, and a restored buffer must equal the original. */
function plainScore({ logS, meanUnsafe, responses }: JudgeScore): JudgeScore {
  return { logS: logS + 0, meanUnsafe: meanUnsafe + 0, responses };
}

function finiteRank(rank: number, entry: ReplayCandidate): number {
  if (Number.isFinite(rank)) return rank;
  throw new FloodgateError(
    'usage',
    `replay buffer: rank of an attack of ${entry.tokens.length} tokens is not finite, got ${rank}, expected a floored log reward`,
  );
}

function assertScore({ logS, meanUnsafe, responses }: JudgeScore): void {
  const isUsable =
    Number.isFinite(logS) && Number.isFinite(meanUnsafe) && Number.isSafeInteger(responses) && responses >= 1;
  if (isUsable) return;
  throw new FloodgateError(
    'usage',
    `replay buffer: score cannot be used, got logS ${logS}, meanUnsafe ${meanUnsafe}, responses ${responses}, ` +
      'expected finite means over at least one scored response',
  );
}

function assertUsable(candidate: ReplayCandidate): void {
  assertScore(candidate.score);
  if (Number.isFinite(candidate.fluency)) return;
  throw new FloodgateError('usage', `replay buffer: fluency is not finite, got ${candidate.fluency}`);
}
