import { randomStream } from '../../base/random.ts';
import { columnGram, type EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import type { Steps } from '../../metrics/steps.ts';
import type { SuccessClusters } from './attack-clusters.ts';
import type { EvaluatedStage, TextVectors } from './evaluated-attacks.ts';

/** Points of a plane, and the share of the spread that the plane shows. */
export interface PlaneProjection {
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Variance along both axes / total variance; null when the points do not spread at all. */
  readonly shownShare: number | null;
}

const MAX_ITERATIONS = 500;
const TOLERANCE = 1e-10;

/** Variance of the rows below which they do not spread: rounding leaves as much. */
const NO_SPREAD = 1e-12;

/** The mean of the rows [D], and X^T X of the rows minus it [D, D]. */
function* scatterOf(matrix: EmbeddingMatrix): Steps<{ readonly mean: Float64Array; readonly scatter: Float64Array }> {
  const { data, rows, width } = matrix;
  const mean = new Float64Array(width);
  for (let i = 0; i < data.length; i++) mean[i % width]! += (data[i] as number) / rows;
  const scatter = yield* columnGram(matrix);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j <= i; j++) {
      const entry = (scatter[i * width + j] as number) - rows * (mean[i] as number) * (mean[j] as number);
      scatter[i * width + j] = entry;
      scatter[j * width + i] = entry;
    }
  }
  return { mean, scatter };
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);

/** Removes `axis` from `vector` and scales the rest to length 1; false when nothing is left. */
function orthonormalise(vector: Float64Array, axis: Float64Array | undefined): boolean {
  if (axis !== undefined) {
    const along = dot(vector, axis);
    for (let i = 0; i < vector.length; i++) vector[i]! -= along * (axis[i] as number);
  }
  const length = Math.sqrt(dot(vector, vector));
  if (!(length > 1e-12)) return false;
  for (let i = 0; i < vector.length; i++) vector[i]! /= length;
  return true;
}

/** A symmetric matrix [D, D] times a vector [D]. */
function multiply(matrix: Float64Array, vector: Float64Array): Float64Array {
  const width = vector.length;
  return vector.map((_, row) => dot(matrix.subarray(row * width, (row + 1) * width), vector));
}

/** The axis of largest spread orthogonal to `before`, by power iteration; undefined when there is no spread left. */
function* leadingAxis(
  scatter: Float64Array,
  width: number,
  before: Float64Array | undefined,
): Steps<Float64Array | undefined> {
  const stream = randomStream(0, 'principal axis', before === undefined ? 1 : 2);
  let axis: Float64Array = Float64Array.from({ length: width }, () => stream.nextFloat() - 0.5);
  if (!orthonormalise(axis, before)) return undefined;
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    yield;
    const next = multiply(scatter, axis);
    if (!orthonormalise(next, before)) return undefined;
    const change = 1 - Math.abs(dot(next, axis));
    axis = next;
    if (change < TOLERANCE) break;
  }
  // The largest component is positive: the picture does not depend on the iteration's start.
  const largest = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  return largest < 0 ? axis.map((value) => -value) : axis;
}

/**
 * Principal component analysis: the rows of `matrix` [n, D] on the two axes along which they spread most. O(n D^2) for the
 * scatter, then O(D^2) an iteration; may pause at every row and iteration.
 */
export function* projectToPlane(matrix: EmbeddingMatrix): Steps<PlaneProjection> {
  const { data, rows, width } = matrix;
  const { mean, scatter } = yield* scatterOf(matrix);
  const total = mean.reduce((sum, _, i) => sum + (scatter[i * width + i] as number), 0);
  if (!(total > NO_SPREAD * rows))
    return { points: Array.from({ length: rows }, () => [0, 0] as const), shownShare: null };
  const first = yield* leadingAxis(scatter, width, undefined);
  const second = first === undefined ? undefined : yield* leadingAxis(scatter, width, first);
  const placeOf = (row: number, axis: Float64Array | undefined): number =>
    axis?.reduce((sum, along, i) => sum + along * ((data[row * width + i] as number) - (mean[i] as number)), 0) ?? 0;
  const points = Array.from({ length: rows }, (_, row) => [placeOf(row, first), placeOf(row, second)] as const);
  const shown = [first, second].reduce(
    (sum, axis) => sum + (axis === undefined ? 0 : dot(axis, multiply(scatter, axis))),
    0,
  );
  return { points, shownShare: shown / total };
}

/** Most points of one panel: the first attacks of an evaluation, which are as good a sample as any. */
const MAX_PANEL_POINTS = 400;
/** Clusters named on the map by their number. */
const MAX_NUMBERED = 8;

export interface MapPoint {
  readonly x: number;
  readonly y: number;
  readonly isSuccess: boolean;
}

export interface MapPanel {
  readonly stage: string;
  readonly points: readonly MapPoint[];
  /** Attacks of this stage that were left out. */
  readonly leftOut: number;
  /** Places of the largest clusters, with their number in the list of clusters. */
  readonly numbered: readonly { readonly x: number; readonly y: number; readonly number: number }[];
}

/** Attacks of every stage on the same two axes. */
export interface AttackMap {
  readonly panels: readonly MapPanel[];
  readonly shownShare: number | null;
}

/** Returns the attacks in the plane of their largest spread; undefined without vectors or with too few attacks. */
export function* mapAttacks(
  evaluations: readonly EvaluatedStage[],
  vectors: TextVectors,
  clusters: SuccessClusters | undefined,
): Steps<AttackMap | undefined> {
  if (vectors.kind === 'missing') return undefined;
  const shown = evaluations.map(({ stage, attacks }) => ({
    stage,
    all: attacks,
    attacks: attacks.slice(0, MAX_PANEL_POINTS),
  }));
  const texts = shown.flatMap(({ attacks }) => attacks.map(({ text }) => text));
  if (texts.length < 3) return undefined;
  const { points, shownShare } = yield* projectToPlane(vectors.matrixOf(texts));
  let next = 0;
  const panels = shown.map(({ stage, all, attacks }) => {
    const places = points.slice(next, next + attacks.length);
    next += attacks.length;
    const largest = clusters?.stage === stage ? clusters.clusters.slice(0, MAX_NUMBERED) : [];
    return {
      stage,
      points: attacks.map(({ isSuccess }, i) => ({ x: places[i]?.[0] ?? 0, y: places[i]?.[1] ?? 0, isSuccess })),
      leftOut: all.length - attacks.length,
      numbered: largest.flatMap(({ members }, i) => {
        const place = places[members[0] ?? -1];
        return place === undefined ? [] : [{ x: place[0], y: place[1], number: i + 1 }];
      }),
    };
  });
  return { panels, shownShare };
}
