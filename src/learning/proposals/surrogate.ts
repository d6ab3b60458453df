import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';

/** Ridge regressions of the ensemble; their spread is the uncertainty that Thompson sampling draws from. */
const MEMBERS = 8;
/** Weight of the ridge penalty on each coefficient. */
const RIDGE = 1;
/** Attacks that it learns from; further ones are ignored. Bounds a checkpoint (17 MB at width 384). */
export const MAX_SURROGATE_ROWS = 8192;
/** Predictions behind the rank correlation. */
const RECENT = 64;
/** Fewer known pairs say nothing about the correlation. */
const LEAST_PAIRS = 32;

/** A prediction that was made before the attack was tried, and what came out. */
type Pair = readonly [prediction: number, value: number];

export interface SurrogateState {
  readonly width: number;
  readonly values: readonly number[];
  /** Rows [values, width] of float32, little-endian, in base64. */
  readonly rows: string;
  readonly recent: readonly Pair[];
}

/**
 * Predicts what an attack will score from its sentence embedding: an ensemble of ridge regressions, each on a Poisson
 * bootstrap of the attacks tried so far. Closed form; the same attacks give the same coefficients, bit for bit.
 */
export class Surrogate {
  private readonly seed: number;
  private width = 0;
  private readonly rows: Float32Array[] = [];
  private readonly values: number[] = [];
  private recent: Pair[] = [];
  /** X'WX + ridge of each member [D+1, D+1], lower triangle, and X'Wy [D+1]. */
  private moments: { readonly gram: Float64Array; readonly target: Float64Array }[] = [];
  private coefficients: readonly Float64Array[] | undefined;

  constructor(seed: number, saved?: SurrogateState) {
    this.seed = seed;
    if (saved === undefined) return;
    const bytes = Buffer.from(saved.rows, 'base64');
    if (bytes.length !== saved.values.length * saved.width * Float32Array.BYTES_PER_ELEMENT) {
      throw new FloodgateError('run', 'restore surrogate: saved state is damaged', {
        hint: 'resume from an earlier checkpoint of this run',
      });
    }
    const rows = new Float32Array(new Uint8Array(bytes).buffer);
    for (const [i, value] of saved.values.entries()) {
      this.learn(rows.slice(i * saved.width, (i + 1) * saved.width), value);
    }
    this.recent = [...saved.recent];
  }

  get size(): number {
    return this.values.length;
  }

  /** Learns the value of an attack. @param embedding [D]; the first sets D. */
  learn(embedding: Float32Array, value: number): void {
    if (this.values.length >= MAX_SURROGATE_ROWS) return;
    if (this.width === 0) this.start(embedding.length);
    if (embedding.length !== this.width) {
      throw new FloodgateError('usage', `surrogate: got an embedding of ${embedding.length}, expected ${this.width}`);
    }
    const stream = randomStream(this.seed, 'bootstrap', this.values.length);
    for (const member of this.moments) accumulate(member, embedding, value, poissonOne(stream.nextFloat()));
    this.rows.push(embedding.slice());
    this.values.push(value);
    this.coefficients = undefined;
  }

  /** Notes what came of a prediction that was made before the attack was tried. */
  observe(prediction: number, value: number): void {
    this.recent = [...this.recent, [prediction, value] as const].slice(-RECENT);
  }

  /** Spearman's correlation of the last predictions with what came out; undefined while too little is known. */
  get correlation(): number | undefined {
    return this.recent.length < LEAST_PAIRS ? undefined : rankCorrelation(this.recent);
  }

  /** The prediction of every member for one attack; undefined before anything was learned. */
  predict(embedding: Float32Array): number[] | undefined {
    if (this.values.length === 0) return undefined;
    this.coefficients ??= this.moments.map(({ gram, target }) => solve(gram, target));
    return this.coefficients.map((beta) => {
      let sum = beta[this.width] as number; // the intercept
      for (let d = 0; d < this.width; d++) sum += (beta[d] as number) * (embedding[d] as number);
      return sum;
    });
  }

  /** JSON-safe; the constructor rebuilds an equal surrogate from it, bit for bit. */
  state(): SurrogateState {
    const rows = new Float32Array(this.values.length * this.width);
    for (const [i, row] of this.rows.entries()) rows.set(row, i * this.width);
    return {
      width: this.width,
      values: [...this.values],
      rows: Buffer.from(rows.buffer).toString('base64'),
      recent: [...this.recent],
    };
  }

  private start(width: number): void {
    this.width = width;
    const size = width + 1;
    this.moments = Array.from({ length: MEMBERS }, () => {
      const gram = new Float64Array(size * size);
      for (let d = 0; d < size; d++) gram[d * size + d] = RIDGE;
      return { gram, target: new Float64Array(size) };
    });
  }
}

/** A draw of Poisson(1) by its inverse, cut at 5. */
function poissonOne(u: number): number {
  let k = 0;
  let mass = Math.exp(-1);
  let below = mass;
  while (u >= below && k < 5) {
    k++;
    mass /= k;
    below += mass;
  }
  return k;
}

function accumulate(
  { gram, target }: { readonly gram: Float64Array; readonly target: Float64Array },
  embedding: Float32Array,
  value: number,
  weight: number,
): void {
  if (weight === 0) return;
  const size = target.length;
  const at = (d: number): number => (d === size - 1 ? 1 : (embedding[d] as number));
  for (let i = 0; i < size; i++) {
    const scaled = weight * at(i);
    target[i] = (target[i] as number) + scaled * value;
    for (let j = 0; j <= i; j++) gram[i * size + j] = (gram[i * size + j] as number) + scaled * at(j);
  }
}

/** Solves A x = b for a positive definite A, given by its lower triangle: Cholesky, then two substitutions. */
function solve(gram: Float64Array, target: Float64Array): Float64Array {
  const n = target.length;
  const factor = gram.slice();
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = factor[i * n + j] as number;
      for (let k = 0; k < j; k++) sum -= (factor[i * n + k] as number) * (factor[j * n + k] as number);
      factor[i * n + j] = i === j ? Math.sqrt(sum) : sum / (factor[j * n + j] as number);
    }
  }
  const x = target.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] = (x[i] as number) - (factor[i * n + k] as number) * (x[k] as number);
    x[i] = (x[i] as number) / (factor[i * n + i] as number);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] = (x[i] as number) - (factor[k * n + i] as number) * (x[k] as number);
    x[i] = (x[i] as number) / (factor[i * n + i] as number);
  }
  return x;
}

/** Ranks from 1; equal values share their mean rank. */
function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => (values[a] as number) - (values[b] as number));
  const result = new Array<number>(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end] as number] === values[order[start] as number]) end++;
    for (let i = start; i < end; i++) result[order[i] as number] = (start + end + 1) / 2;
    start = end;
  }
  return result;
}

/** Spearman's rank correlation; undefined when one side does not vary. */
export function rankCorrelation(pairs: readonly Pair[]): number | undefined {
  const a = ranks(pairs.map(([prediction]) => prediction));
  const b = ranks(pairs.map(([, value]) => value));
  const mean = (pairs.length + 1) / 2;
  let [ab, aa, bb] = [0, 0, 0];
  for (const [i, rank] of a.entries()) {
    const [da, db] = [rank - mean, (b[i] as number) - mean];
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return aa === 0 || bb === 0 ? undefined : ab / Math.sqrt(aa * bb);
}
