/** How the next token is drawn from the tempered distribution. */
export interface TokenFilter {
  /** Keep the most probable k; 0 keeps all. */
  readonly topK: number;
  /** Keep the smallest set of most probable tokens with at least this mass; 1 keeps all. */
  readonly topP: number;
}

/** Ids that the filter keeps, ascending, and their mass. */
interface Kept {
  readonly ids: readonly number[];
  readonly mass: number;
}

/** A token above this is worth sorting at once: on peaked rows a few such tokens hold the whole nucleus. */
const LIKELY = 1e-3;
/** Buckets of positive floats up to 1 by their upper 16 bits: larger bits, larger float. */
const BUCKETS = 0x3f80 + 1;
const bucketMass = new Float64Array(BUCKETS);

/** Most probable first; of equals the smaller id. */
function sortByProbability(ids: number[], probabilities: Float32Array): number[] {
  return ids.sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b);
}

/** The shortest beginning of `sorted` that brings `mass` to `wanted`, appended to `kept`. */
function take(
  sorted: readonly number[],
  probabilities: Float32Array,
  kept: number[],
  mass: number,
  wanted: number,
): Kept {
  let total = mass;
  for (const id of sorted) {
    if (total >= wanted && kept.length > 0) break;
    kept.push(id);
    total += probabilities[id] as number;
  }
  return { ids: kept.sort((a, b) => a - b), mass: total };
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
  if (likelyMass >= topP) return take(sortByProbability(likely, probabilities), probabilities, [], 0, topP);
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
  const above: number[] = [];
  const boundary: number[] = [];
  let aboveMass = 0;
  for (let id = 0; id < bits.length; id++) {
    const bucket = Math.min((bits[id] as number) >>> 16, BUCKETS - 1);
    if (bucket > cut) {
      above.push(id);
      aboveMass += probabilities[id] as number;
    } else if (bucket === cut && (probabilities[id] as number) > 0) boundary.push(id);
  }
  return take(sortByProbability(boundary, probabilities), probabilities, above, aboveMass, topP);
}

/** Top-k, then top-p renormalised over what top-k kept. */
function topKThenTopP(probabilities: Float32Array, { topK, topP }: TokenFilter): Kept {
  const all = Array.from(probabilities.keys()).filter((id) => (probabilities[id] as number) > 0);
  const best = sortByProbability(all, probabilities).slice(0, topK);
  const mass = best.reduce((sum, id) => sum + (probabilities[id] as number), 0);
  return take(best, probabilities, [], 0, topP * mass);
}

/**
 * The token that the uniform draw `u` in [0, 1) picks from `probabilities` [V] after top-k, then top-p (renormalised),
 * in the order that `transformers` applies them.
 */
export function chooseToken(probabilities: Float32Array, filter: TokenFilter, u: number): number {
  if (filter.topK === 0 && filter.topP >= 1) return walk(probabilities, undefined, u);
  const { ids, mass } = filter.topK > 0 ? topKThenTopP(probabilities, filter) : nucleus(probabilities, filter.topP);
  return walk(probabilities, ids, u * mass);
}

/** The id (of `ids`, or of all) at which the cumulative mass passes `threshold`; the last one when rounding leaves none. */
function walk(probabilities: Float32Array, ids: readonly number[] | undefined, threshold: number): number {
  const count = ids?.length ?? probabilities.length;
  let cumulative = 0;
  let lastPossible = 0;
  for (let i = 0; i < count; i++) {
    const id = ids === undefined ? i : (ids[i] as number);
    const p = probabilities[id] as number;
    if (p === 0) continue;
    cumulative += p;
    lastPossible = id;
    if (cumulative > threshold) return id;
  }
  return lastPossible;
}
