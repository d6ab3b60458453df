import { FloodgateError } from '../../base/errors.ts';
import { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { symbolSize } from '../../engine/graph/size.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';

/** A logit so low that exp() is exactly 0 in fp32, yet finite, so that no gradient becomes NaN. */
export const BANNED_LOGIT = -1e9;

/** Tokens that the sampler never draws, and tokens that end a sequence (banned only before the minimum length). */
export interface TokenBans {
  readonly always: readonly number[];
  readonly end: readonly number[];
}

/**
 * Returns the sampler's own logits: `logits` [N, V] without always-banned tokens, and without end tokens on rows where
 * `endBan` [N] is 1. Their log-probs are those of the sampled distribution. Fresh, replayed and reference log-probs
 * therefore all count the same set of tokens.
 */
export function samplerLogits(g: GraphBuilder, logits: Value, endBan: Value, bans: TokenBans): Value {
  const vocabulary = logits.shape[1] as number;
  const always = new Float32Array(vocabulary);
  const end = new Float32Array(vocabulary);
  for (const id of bans.always) always[id] = BANNED_LOGIT;
  for (const id of bans.end) if (always[id] === 0) end[id] = BANNED_LOGIT;
  const rows = logits.shape[0] ?? symbolSize('N');
  const endRow = g.constant('float32', [1, vocabulary], end);
  const allowed = g.add(logits, g.constant('float32', [1, vocabulary], always));
  return g.add(allowed, g.multiply(g.reshape(endBan, [rows, 1]), endRow));
}

/** The error of a model whose logits hold NaN or infinity: whatever is drawn or scored from them means nothing. */
export function notFinite(model: string): FloodgateError {
  return new FloodgateError('model', `run ${model}: its logits are not finite numbers`, {
    hint: 'its weights hold NaN or infinity, or its config does not fit them: fetch or convert the model again',
  });
}

/** The sampler's distribution for M rows of logits. */
export interface Distribution {
  /** Tempered probabilities [M, V]. */
  readonly probabilities: Float32Array;
  /** Log-probs at temperature 1 [M, V], when requested at opening. */
  readonly logProbs: Float32Array | undefined;
}

/** Turns logits into the sampler's distribution with the runtime's vectorised kernels. */
export class TokenDistribution {
  private readonly session: GraphSession;
  private readonly options: DistributionOptions;
  private probabilities = new Float32Array(0);
  private logProbs = new Float32Array(0);

  constructor(session: GraphSession, options: DistributionOptions) {
    this.session = session;
    this.options = options;
  }

  /**
   * @param logits [M, V]
   * @param temperatures [M]
   * @param endBan 1 where end tokens are banned [M]
   * @returns views that the next call overwrites.
   * @throws FloodgateError `model` when a logit is NaN or +infinity; one of -infinity is never drawn.
   */
  async of(logits: Float32Array, temperatures: Float32Array, endBan: Float32Array): Promise<Distribution> {
    const rows = temperatures.length;
    const { vocabSize, withLogProbs, model } = this.options;
    const shape = [rows, vocabSize];
    const size = rows * vocabSize;
    if (this.probabilities.length < size) {
      this.probabilities = new Float32Array(size);
      if (withLogProbs) this.logProbs = new Float32Array(size);
    }
    const probabilities = this.probabilities.subarray(0, size);
    const logProbs = withLogProbs ? this.logProbs.subarray(0, size) : undefined;
    await this.session.run(
      {
        logits: float32Tensor(logits, shape),
        inverseTemperature: float32Tensor(
          temperatures.map((temperature) => 1 / temperature),
          [rows, 1],
        ),
        endBan: float32Tensor(endBan, [rows]),
      },
      {
        probabilities: float32Tensor(probabilities, shape),
        ...(logProbs === undefined ? {} : { logProbs: float32Tensor(logProbs, shape) }),
      },
    );
    // One such logit makes every probability of its row NaN, so one read a row sees it.
    for (let start = 0; start < size; start += vocabSize) {
      if (Number.isNaN(probabilities[start])) throw notFinite(model);
    }
    return { probabilities, logProbs };
  }

  async close(): Promise<void> {
    await this.session.close();
  }
}

export interface DistributionOptions {
  readonly vocabSize: number;
  readonly bans: TokenBans;
  readonly withLogProbs: boolean;
  /** Name of the model in errors. */
  readonly model: string;
}

export async function openTokenDistribution(
  options: DistributionOptions,
  compute: ComputeOptions,
): Promise<TokenDistribution> {
  const g = new GraphBuilder();
  const M = symbolSize('M');
  const logits = g.input('logits', 'float32', [M, options.vocabSize]);
  const inverseTemperature = g.input('inverseTemperature', 'float32', [M, 1]);
  const endBan = g.input('endBan', 'float32', [M]);
  const allowed = samplerLogits(g, logits, endBan, options.bans);
  g.output('probabilities', g.softmax(g.multiply(allowed, inverseTemperature)));
  if (options.withLogProbs) g.output('logProbs', g.logSoftmax(allowed));
  const { profilePrefix: _ofTheModel, ...own } = compute;
  const session = await openSession(g.build(), { ...own, device: 'cpu', label: 'token distribution' });
  return new TokenDistribution(session, options);
}

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
/** Buckets of positive floats up to 1 by their upper 16 bits: larger bits, larger float. */
const BUCKETS = 0x3f80 + 1;
const bucketMass = new Float64Array(BUCKETS);

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
  return flatNucleus(probabilities, topP);
}

/** Top-p of a flat row. A histogram by magnitude finds the bucket of the cut; only that bucket is sorted. */
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
