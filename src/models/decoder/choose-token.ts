/** How the next token is drawn from the tempered distribution. */
export interface TokenFilter {
  /** Keep the most probable k; 0 keeps all. */
  readonly topK: number;
  /** Keep the smallest set of most probable tokens with at least this mass; 1 keeps all. */
  readonly topP: number;
}

/**
 * The set that the filter keeps, told by its least likely member: tokens come most probable first, of equals the smaller
 * id first, so everything before that member is in. No list of ids is ever made: on a flat row it would hold them all.
 */
interface Kept {
  readonly leastProbability: number;
  readonly lastId: number;
  readonly mass: number;
}

/** Every token that can be drawn at all. */
const EVERYTHING: Kept = { leastProbability: 0, lastId: -1, mass: 1 };

/** A token above this is worth sorting at once: on peaked rows a few such tokens hold the whole nucleus. */
const LIKELY = 1e-3;
/** Buckets of positive floats up to 1 by their upper 16 bits: larger bits, larger float. */
const BUCKETS = 0x3f80 + 1;
const bucketMass = new Float64Array(BUCKETS);

/** Most probable first; of equals the smaller id. */
function sortByProbability(ids: number[], probabilities: Float32Array): number[] {
  return ids.sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b);
}

/** Takes from `sorted` until `mass` reaches `wanted`; at least one token when nothing was taken before. */
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

/** Exact top-p: only tokens around the cut are ever sorted. */
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
  return flatNucleus(probabilities, topP);
}

/** Top-p of a flat row: a histogram by magnitude finds the bucket in which the cut falls; that bucket alone is sorted. */
function flatNucleus(probabilities: Float32Array, topP: number): Kept {
  const bits = new Uint32Array(probabilities.buffer, probabilities.byteOffset, probabilities.length);
  bucketMass.fill(0);
  for (let id = 0; id < bits.length; id++) {
    const bucket = Math.min((bits[id] as number) >>> 16, BUCKETS - 1);
    bucketMass[bucket] = (bucketMass[bucket] as number) + (probabilities[id] as number);
  }
  let cut = BUCKETS - 1;
  let mass = bucketMass[cut] as number;
  while (mass < topP && cut > 0) mass += bucketMass[--cut] as number;
  const boundary: number[] = [];
  let aboveMass = 0;
  for (let id = 0; id < bits.length; id++) {
    const bucket = Math.min((bits[id] as number) >>> 16, BUCKETS - 1);
    const p = probabilities[id] as number;
    if (bucket > cut) aboveMass += p;
    else if (bucket === cut && p > 0) boundary.push(id);
  }
  return take(sortByProbability(boundary, probabilities), probabilities, aboveMass, topP);
}

/** Top-k, then top-p renormalised over what top-k kept. */
function topKThenTopP(probabilities: Float32Array, { topK, topP }: TokenFilter): Kept {
  const all = Array.from(probabilities.keys()).filter((id) => (probabilities[id] as number) > 0);
  const best = sortByProbability(all, probabilities).slice(0, topK);
  const mass = best.reduce((sum, id) => sum + (probabilities[id] as number), 0);
  return take(best, probabilities, 0, topP * mass);
}

/**
 * The token that the uniform draw `u` in [0, 1) picks from `probabilities` [V] after top-k, then top-p (renormalised),
 * in the order that `transformers` applies them.
 */
export function chooseToken(probabilities: Float32Array, filter: TokenFilter, u: number): number {
  if (filter.topK === 0 && filter.topP >= 1) return walk(probabilities, EVERYTHING, u);
  const kept = filter.topK > 0 ? topKThenTopP(probabilities, filter) : nucleus(probabilities, filter.topP);
  return walk(probabilities, kept, u * kept.mass);
}

/** The kept id at which the cumulative mass, in the order of ids, passes `threshold`; the last one when rounding leaves none. */
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
