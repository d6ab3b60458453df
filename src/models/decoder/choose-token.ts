import { append } from '../../base/long-lists.ts';

/** How the next token is drawn from the tempered distribution. */
export interface TokenFilter {
  /** Keep the most probable k; 0 keeps all. */
  readonly topK: number;
  /** Keep the smallest set of most probable tokens with at least this mass; 1 keeps all. */
  readonly topP: number;
}

/**
 * The set that the filter keeps, given by its least likely member. Tokens are ordered by probability, then by id, so
 * the set holds everything before that member. No list of ids is built: on a flat row it would hold all of them.
 */
interface Kept {
  readonly leastProbability: number;
  readonly lastId: number;
  readonly mass: number;
}

/** Every token with a positive probability. */
const EVERYTHING: Kept = { leastProbability: 0, lastId: -1, mass: 1 };

/** A token above this is sorted at once: on peaked rows a few such tokens hold the whole nucleus. */
const LIKELY = 1e-3;

/** Most probable first; of equals the smaller id. */
function sortByProbability(ids: number[], probabilities: Float32Array): number[] {
  return ids.sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b);
}

/** Takes tokens from `sorted` until `mass` reaches `wanted`; at least one when nothing was taken before. */
function take(sorted: readonly number[], probabilities: Float32Array, mass: number, wanted: number): Kept {
  const first = sorted[0];
  if (first === undefined) return { ...EVERYTHING, mass }; // rounding left the whole row below the wanted mass
  let total = mass;
  let lastId = first;
  for (const id of sorted) {
    if (total >= wanted && total > 0) break;
    lastId = id;
    total += probabilities[id] as number;
  }
  return { leastProbability: probabilities[lastId] as number, lastId, mass: total };
}

/** Exact top-p. Sorts only tokens near the cut. */
function nucleus(probabilities: Float32Array, topP: number): Kept {
  const likely: number[] = [];
  let likelyMass = 0;
  for (let id = 0; id < probabilities.length; id++) {
    const p = probabilities[id] as number;
    if (p > LIKELY) {
      likely.push(id);
      likelyMass += p;
    }
  }
  if (likelyMass >= topP) return take(sortByProbability(likely, probabilities), probabilities, 0, topP);
  const { above, ids } = boundary(probabilities, topP, false);
  return take(sortByProbability(ids, probabilities), probabilities, above, topP);
}

/** Buckets by the upper bits of a positive float up to 1: larger bits, larger float. */
const COARSE_SHIFT = 18;
const COARSE_BUCKETS = (0x4000_0000 >>> COARSE_SHIFT) + 1; // a sum of one may be rounded up

/** Buckets within a coarse one, by the bits below. */
const FINE_SHIFT = 8;
const FINE_BUCKETS = 1 << (COARSE_SHIFT - FINE_SHIFT);
/** Fewer tokens than this are sorted rather than divided again. */
const FEW = 64;
/** Tokens that are counted at once: four sums of one bucket do not wait for each other. */
const LANES = 4;
/** Mass or number of the tokens in each bucket [LANES, COARSE_BUCKETS]. */
const weights = new Float64Array(LANES * COARSE_BUCKETS);
/** Ids of the tokens in one bucket. */
let inBucket = new Int32Array(0);

/** The highest of `buckets` at which the weight from the top reaches `wanted`, and the weight above it. */
function cutOf(buckets: number, wanted: number): { readonly cut: number; readonly above: number } {
  let above = 0;
  for (let cut = buckets - 1; ; cut--) {
    let reached = above;
    for (let lane = 0; lane < LANES; lane++) reached += weights[lane * COARSE_BUCKETS + cut] as number;
    if (reached >= wanted || cut === 0) return { cut, above };
    above = reached;
  }
}

/** Fills `weights` with the mass of every coarse bucket, or with its number of possible tokens. */
function weighBuckets(probabilities: Float32Array, bits: Int32Array, isCount: boolean): void {
  weights.fill(0);
  for (let id = 0; id < bits.length; id++) {
    const p = probabilities[id] as number;
    const at = (id % LANES) * COARSE_BUCKETS + ((bits[id] as number) >> COARSE_SHIFT);
    weights[at] = (weights[at] as number) + (isCount && p > 0 ? 1 : p);
  }
}

/**
 * The possible tokens around the place where the most probable ones reach `wanted` in mass, or in number with
 * `isCount`; and the mass or number of all that are more probable. Two histograms by magnitude find it, so that a flat
 * row is not sorted.
 */
function boundary(
  probabilities: Float32Array,
  wanted: number,
  isCount: boolean,
): { readonly above: number; readonly ids: number[] } {
  const size = probabilities.length;
  const bits = new Int32Array(probabilities.buffer, probabilities.byteOffset, size);
  if (inBucket.length < size) inBucket = new Int32Array(size);
  weighBuckets(probabilities, bits, isCount);
  const coarse = cutOf(COARSE_BUCKETS, wanted);
  let count = 0;
  for (let id = 0; id < size; id++) {
    if ((bits[id] as number) >> COARSE_SHIFT === coarse.cut && bits[id] !== 0) inBucket[count++] = id;
  }
  const near = inBucket.subarray(0, count);
  if (count < FEW) return { above: coarse.above, ids: [...near] };
  const fine = fineCut(probabilities, bits, near, { wanted: wanted - coarse.above, isCount });
  const ids: number[] = [];
  for (let i = 0; i < count; i++) {
    const id = near[i] as number;
    if (fineBucket(bits[id] as number) === fine.cut) ids.push(id);
  }
  return { above: coarse.above + fine.above, ids };
}

const fineBucket = (bits: number): number => (bits >> FINE_SHIFT) & (FINE_BUCKETS - 1);

/** The same cut within the tokens of one coarse bucket. */
function fineCut(
  probabilities: Float32Array,
  bits: Int32Array,
  near: Int32Array,
  { wanted, isCount }: { readonly wanted: number; readonly isCount: boolean },
): { readonly cut: number; readonly above: number } {
  weights.fill(0);
  for (let i = 0; i < near.length; i++) {
    const id = near[i] as number;
    const at = (i % LANES) * COARSE_BUCKETS + fineBucket(bits[id] as number);
    weights[at] = (weights[at] as number) + (isCount ? 1 : (probabilities[id] as number));
  }
  return cutOf(FINE_BUCKETS, wanted);
}

/** Top-k, then top-p renormalised over what top-k kept. */
function topKThenTopP(probabilities: Float32Array, { topK, topP }: TokenFilter): Kept {
  const { above, ids } = boundary(probabilities, topK, true);
  const least = sortByProbability(ids, probabilities).slice(0, topK - above);
  const [first = -1] = least;
  const best: number[] = [];
  for (let id = 0; id < probabilities.length; id++)
    if ((probabilities[id] as number) > (probabilities[first] ?? 0)) best.push(id);
  append(sortByProbability(best, probabilities), least);
  const mass = best.reduce((sum, id) => sum + (probabilities[id] as number), 0);
  return take(best, probabilities, 0, topP * mass);
}

/**
 * Returns the token that the uniform draw `u` in [0, 1) picks from `probabilities` [V] after top-k, then top-p
 * (renormalised). `transformers` applies the filters in the same order.
 */
export function chooseToken(probabilities: Float32Array, filter: TokenFilter, u: number): number {
  if (filter.topK === 0 && filter.topP >= 1) return walk(probabilities, EVERYTHING, u);
  const kept = filter.topK > 0 ? topKThenTopP(probabilities, filter) : nucleus(probabilities, filter.topP);
  return walk(probabilities, kept, u * kept.mass);
}

/**
 * Returns the kept id at which the cumulative mass, in the order of ids, passes `threshold`; the last kept id when
 * rounding leaves none.
 */
function walk(probabilities: Float32Array, { leastProbability, lastId }: Kept, threshold: number): number {
  let cumulative = 0;
  let lastPossible = 0;
  for (let id = 0; id < probabilities.length; id++) {
    const p = probabilities[id] as number;
    if (p < leastProbability || (p === leastProbability && id > lastId)) continue;
    cumulative += p;
    lastPossible = id;
    if (cumulative > threshold) return id;
  }
  return lastPossible;
}
