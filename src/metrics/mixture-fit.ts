/** Below it a negative share is rounding, and the plain solution holds. */
const ROUNDING = 1e-9;
/** The least share with which the likelihood is climbed: from 0 there is no way up. */
const LEAST_START = 1e-3;
/** The climb to a share of 0 has no end. */
const NEGLIGIBLE = 1e-4;
const MAX_STEPS = 100;
const SETTLED = 1e-5;

/** Solves A x = b by elimination with pivots; undefined for a matrix without an inverse. `a` is used up. */
function solve(a: number[][], b: readonly number[]): number[] | undefined {
  const n = b.length;
  const rows = a.map((row, i) => [...row, b[i] as number]);
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let row = column + 1; row < n; row++)
      if (Math.abs(rows[row]?.[column] as number) > Math.abs(rows[pivot]?.[column] as number)) pivot = row;
    const head = rows[pivot] as number[];
    [rows[column], rows[pivot]] = [head, rows[column] as number[]];
    const scale = head[column] as number;
    if (!(Math.abs(scale) > Number.MIN_VALUE)) return undefined;
    for (let row = 0; row < n; row++) {
      const other = rows[row] as number[];
      const factor = (other[column] as number) / scale;
      if (row === column || factor === 0) continue;
      for (let k = column; k <= n; k++) other[k] = (other[k] as number) - factor * (head[k] as number);
    }
  }
  return rows.map((row, i) => (row[n] as number) / (row[i] as number));
}

/** Climbs the likelihood by expectation-maximisation, in place, until no share changes. @param given flat, kinds first. */
function climb(shares: Float64Array, seen: Float64Array, given: Float64Array): void {
  const size = shares.length;
  const gain = new Float64Array(size);
  for (let step = 0; step < MAX_STEPS; step++) {
    gain.fill(0);
    for (let k = 0; k < size; k++) {
      let mixed = 0;
      for (let t = 0; t < size; t++) mixed += (shares[t] as number) * (given[t * size + k] as number);
      if (mixed === 0) continue;
      const part = (seen[k] as number) / mixed;
      for (let t = 0; t < size; t++) gain[t] = (gain[t] as number) + part * (given[t * size + k] as number);
    }
    let change = 0;
    for (let t = 0; t < size; t++) {
      const next = (shares[t] as number) * (gain[t] as number);
      change = Math.max(change, Math.abs(next - (shares[t] as number)));
      shares[t] = next;
    }
    if (change < SETTLED) return;
  }
}

export interface MixtureFit {
  readonly shares: readonly number[];
  /** Divergence of the seen outcomes from those of the fit, in nats an observation; 0 where it explains them all. */
  readonly misfit: number;
}

/**
 * The most likely shares of hidden kinds, each at least 0, from the shares in which outcomes were seen.
 * @param seen shares of the outcomes, which sum to 1; as many as kinds.
 * @param given `given[t][k]`: the probability of outcome k of kind t.
 */
export function fitMixture(seen: readonly number[], given: readonly (readonly number[])[]): MixtureFit {
  const columns = seen.map((_, k) => given.map((row) => row[k] as number));
  const plain = solve(columns, seen);
  if (plain?.every((share) => share >= -ROUNDING)) {
    return { shares: plain.map((share) => Math.max(0, share)), misfit: 0 };
  }
  const start = given.map((_, t) => Math.max(LEAST_START, plain?.[t] ?? 1));
  const sum = start.reduce((all, share) => all + share, 0);
  const shares = Float64Array.from(start, (share) => share / sum);
  climb(shares, Float64Array.from(seen), Float64Array.from(given.flat()));
  const misfit = seen.reduce((all, part, k) => {
    const mixed = shares.reduce((sum, share, t) => sum + share * (given[t]?.[k] as number), 0);
    return part === 0 ? all : all + part * Math.log(part / mixed);
  }, 0);
  return { shares: [...shares].map((share) => (share < NEGLIGIBLE ? 0 : share)), misfit };
}
