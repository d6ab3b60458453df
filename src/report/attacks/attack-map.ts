import type { EvaluatedStage } from '../figures/evaluated-attacks.ts';
import type { SuccessClusters } from './attack-clusters.ts';
import { projectToPlane } from './principal-axes.ts';
import type { TextVectors } from './text-vectors.ts';

/** Points of one panel: the first attacks of an evaluation, which are as good a sample as any. */
export const MAX_PANEL_POINTS = 400;
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
  /** Where the largest clusters lie, by their number in the list of clusters. */
  readonly numbered: readonly { readonly x: number; readonly y: number; readonly number: number }[];
}

/** Attacks of every stage on the same two axes. */
export interface AttackMap {
  readonly panels: readonly MapPanel[];
  readonly shownShare: number | null;
}

/** Returns the attacks in the plane along which they spread most; undefined without vectors or with too few attacks. */
export function mapAttacks(
  evaluations: readonly EvaluatedStage[],
  vectors: TextVectors,
  clusters: SuccessClusters | undefined,
): AttackMap | undefined {
  if (vectors.kind === 'missing') return undefined;
  const shown = evaluations.map(({ stage, attacks }) => ({
    stage,
    all: attacks,
    attacks: attacks.slice(0, MAX_PANEL_POINTS),
  }));
  const texts = shown.flatMap(({ attacks }) => attacks.map(({ text }) => text));
  if (texts.length < 3) return undefined;
  const { points, shownShare } = projectToPlane(vectors.matrixOf(texts));
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
