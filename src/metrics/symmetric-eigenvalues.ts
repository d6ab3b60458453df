import { FloodgateError } from '../base/errors.ts';
import { finishSteps, type Steps } from './steps.ts';

/** QL needs two or three iterations per eigenvalue; many more mean that the matrix held NaN. */
const MAX_QL_ITERATIONS = 60;

/**
 * The eigenvalues of a real symmetric matrix [n, n] (row-major; only the lower triangle is read), ascending.
 * Householder reduction to tridiagonal form, then implicit QL with Wilkinson's shift: O(4/3 n^3), no vectors.
 * @throws FloodgateError `usage` when the size does not fit or an entry is not finite.
 */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  return finishSteps(symmetricEigenvaluesInSteps(matrix, n));
}

/** `symmetricEigenvalues`, which may pause at every row: O(n^2) between two pauses. */
export function* symmetricEigenvaluesInSteps(matrix: Float64Array, n: number): Steps<Float64Array> {
  if (matrix.length !== n * n) {
    throw new FloodgateError(
      'usage',
      `eigenvalues: size does not fit, got ${matrix.length} numbers, expected ${n} x ${n}`,
    );
  }
  if (!matrix.every(Number.isFinite)) throw new FloodgateError('usage', 'eigenvalues: a matrix entry is not finite');
  const { diagonal, offDiagonal } = yield* toTridiagonal(matrix.slice(), n);
  yield* implicitQl(diagonal, offDiagonal);
  return diagonal.sort();
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** offDiagonal[i] couples i and i + 1; the last entry is 0. */
  readonly offDiagonal: Float64Array;
}

/** Reflects each row, from the last up, onto its sub-diagonal. Works in the lower triangle of `a`. */
function* toTridiagonal(a: Float64Array, n: number): Steps<Tridiagonal> {
  const offDiagonal = new Float64Array(n);
  for (let i = n - 1; i >= 2; i--) {
    yield;
    const row = a.subarray(i * n, i * n + i);
    offDiagonal[i - 1] = makeReflector(row);
    if (offDiagonal[i - 1] !== 0) applyReflector(a, n, row);
  }
  if (n > 1) offDiagonal[0] = a[n] as number;
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i] as number), offDiagonal };
}

/**
 * Turns `row` (length m) into the Householder vector u, with u.u = 2, of the reflection that maps it onto its last
 * axis. Returns the new last entry, or 0 for a zero row, which needs no reflection.
 */
function makeReflector(row: Float64Array): number {
  const scale = row.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
  if (scale === 0) return 0;
  // Scaled by the largest entry, so that no square under- or overflows; u does not depend on the scale.
  for (let k = 0; k < row.length; k++) row[k] = (row[k] as number) / scale;
  const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
  const last = row[row.length - 1] as number;
  // The sign that adds magnitudes: no cancellation in the last entry.
  const image = last > 0 ? -norm : norm;
  row[row.length - 1] = last - image;
  const size = Math.sqrt(norm * (norm + Math.abs(last)));
  for (let k = 0; k < row.length; k++) row[k] = (row[k] as number) / size;
  return image * scale;
}

/** a := (1 - u u^T) a (1 - u u^T) on the leading m x m block (lower triangle), as a rank-two update. */
function applyReflector(a: Float64Array, n: number, u: Float64Array): void {
  const m = u.length;
  const p = new Float64Array(m);
  multiplyLower(a, n, u, p);
  let half = 0;
  for (let i = 0; i < m; i++) half += (p[i] as number) * (u[i] as number);
  half /= 2;
  for (let i = 0; i < m; i++) p[i] = (p[i] as number) - half * (u[i] as number);
  subtractPairs(a, n, u, p);
}

/** p += a u over the lower triangle. Four rows at a time: each then costs half the loads and stores. */
function multiplyLower(a: Float64Array, n: number, u: Float64Array, p: Float64Array): void {
  const m = u.length;
  const blocked = m - (m % 4);
  for (let i = 0; i < blocked; i += 4) {
    const [r0, r1, r2, r3] = [i * n, i * n + n, i * n + 2 * n, i * n + 3 * n];
    const u0 = u[i] as number;
    const u1 = u[i + 1] as number;
    const u2 = u[i + 2] as number;
    const u3 = u[i + 3] as number;
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let j = 0; j < i; j++) {
      const uj = u[j] as number;
      const x0 = a[r0 + j] as number;
      const x1 = a[r1 + j] as number;
      const x2 = a[r2 + j] as number;
      const x3 = a[r3 + j] as number;
      s0 += x0 * uj;
      s1 += x1 * uj;
      s2 += x2 * uj;
      s3 += x3 * uj;
      p[j] = (p[j] as number) + x0 * u0 + x1 * u1 + x2 * u2 + x3 * u3;
    }
    [s0, s1, s2, s3].forEach((sum, k) => {
      p[i + k] = (p[i + k] as number) + sum;
    });
    for (let k = 0; k < 4; k++) multiplyRow(a, n, u, p, i + k, i);
  }
  for (let i = blocked; i < m; i++) multiplyRow(a, n, u, p, i, 0);
}

/** The share of row i, from column `from` up to its diagonal, in p += a u. */
function multiplyRow(a: Float64Array, n: number, u: Float64Array, p: Float64Array, i: number, from: number): void {
  const ui = u[i] as number;
  let sum = (a[i * n + i] as number) * ui;
  for (let j = from; j < i; j++) {
    const x = a[i * n + j] as number;
    sum += x * (u[j] as number);
    p[j] = (p[j] as number) + x * ui;
  }
  p[i] = (p[i] as number) + sum;
}

/** a -= u p^T + p u^T. Rows go by fours as above, so a few entries above the diagonal change too; nobody reads them. */
function subtractPairs(a: Float64Array, n: number, u: Float64Array, p: Float64Array): void {
  const m = u.length;
  const blocked = m - (m % 4);
  const subtractFrom = (i: number): void => {
    const ui = u[i] as number;
    const pi = p[i] as number;
    for (let j = 0; j <= i; j++) {
      a[i * n + j] = (a[i * n + j] as number) - ui * (p[j] as number) - pi * (u[j] as number);
    }
  };
  for (let i = 0; i < blocked; i += 4) {
    const [r0, r1, r2, r3] = [i * n, i * n + n, i * n + 2 * n, i * n + 3 * n];
    const [u0, u1, u2, u3] = [u[i] as number, u[i + 1] as number, u[i + 2] as number, u[i + 3] as number];
    const [p0, p1, p2, p3] = [p[i] as number, p[i + 1] as number, p[i + 2] as number, p[i + 3] as number];
    for (let j = 0; j <= i + 3; j++) {
      const uj = u[j] as number;
      const pj = p[j] as number;
      a[r0 + j] = (a[r0 + j] as number) - u0 * pj - p0 * uj;
      a[r1 + j] = (a[r1 + j] as number) - u1 * pj - p1 * uj;
      a[r2 + j] = (a[r2 + j] as number) - u2 * pj - p2 * uj;
      a[r3 + j] = (a[r3 + j] as number) - u3 * pj - p3 * uj;
    }
  }
  for (let i = blocked; i < m; i++) subtractFrom(i);
}

/** Leaves the eigenvalues in `d`. */
function* implicitQl(d: Float64Array, e: Float64Array): Steps<void> {
  // A coupling is compared with the whole matrix, not with its neighbours. Otherwise blocks of rounding noise, which
  // repeated attacks leave as zero eigenvalues, would never split. Errors stay of the order of epsilon * norm.
  const largest = (v: Float64Array): number => v.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const negligible = Number.EPSILON * (largest(d) + largest(e));
  for (let start = 0; start < d.length; start++) {
    yield;
    for (let iteration = 0; ; iteration++) {
      const end = endOfBlock(e, start, negligible);
      if (end === start) break;
      if (iteration === MAX_QL_ITERATIONS) throw new FloodgateError('usage', 'eigenvalues: QL did not converge');
      chaseBulge(d, e, start, end);
    }
  }
}

/** The first index from `start` whose coupling to the next is negligible. */
function endOfBlock(e: Float64Array, start: number, negligible: number): number {
  let end = start;
  while (end < e.length - 1 && Math.abs(e[end] as number) > negligible) end++;
  return end;
}

/** One implicit QL sweep with Wilkinson's shift over the block start..end. */
function chaseBulge(d: Float64Array, e: Float64Array, start: number, end: number): void {
  const at = (v: Float64Array, i: number): number => v[i] as number;
  const slope = (at(d, start + 1) - at(d, start)) / (2 * at(e, start));
  const root = Math.hypot(slope, 1);
  let g = at(d, end) - at(d, start) + at(e, start) / (slope + (slope >= 0 ? root : -root));
  let sine = 1;
  let cosine = 1;
  let shift = 0;
  for (let i = end - 1; i >= start; i--) {
    const f = sine * at(e, i);
    const b = cosine * at(e, i);
    const r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      // The block has split: undo the pending shift and restart on the parts.
      d[i + 1] = at(d, i + 1) - shift;
      e[end] = 0;
      return;
    }
    sine = f / r;
    cosine = g / r;
    g = at(d, i + 1) - shift;
    const turn = (at(d, i) - g) * sine + 2 * cosine * b;
    shift = sine * turn;
    d[i + 1] = g + shift;
    g = cosine * turn - b;
  }
  d[start] = at(d, start) - shift;
  e[start] = g;
  e[end] = 0;
}
