import { z } from 'zod';
import { canonicalJson, sha256Of } from '../../base/canonical-json.ts';
import { cosineOfRows } from '../../metrics/embedding-matrix.ts';
import type { SuccessClusters } from './attack-clusters.ts';
import type { AttackMap } from './attack-map.ts';
import type { EvaluatedAttack, EvaluatedStage, TextVectors } from './evaluated-attacks.ts';

/** Name of the file in a run folder: the places of the report's map, without a text. */
export const KEPT_MAP = 'attack-map.json';
const MAX_NEAR = 5;

const row = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const pointSchema = z.strictObject({
  /** Row of the database. */
  id: row,
  x: z.number(),
  y: z.number(),
  isSuccess: z.boolean(),
  /** Number of its wording, 1 for the largest; null for a failure, and where wordings were not grouped. */
  wording: row.nullable(),
  /** The drawn successes with other texts that mean the most similar things, the nearest first. */
  near: z.array(z.strictObject({ id: row, cosine: z.number().min(-1.001).max(1.001) })).max(MAX_NEAR),
});
const keptMapSchema = z.strictObject({
  mapVersion: z.literal(1),
  encoder: z.string(),
  /** The share of the spread that the plane shows; null without a spread. */
  shownShare: z.number().nullable(),
  panels: z.array(
    z.strictObject({
      stage: z.string(),
      leftOut: row,
      /** `textsKey` of the attacks: a run that was resumed may have other ones in these rows. */
      textsSha256: z.string(),
      /** Rows of the successes of each wording, the largest first; none where they were not grouped. */
      wordings: z.array(z.array(row)),
      /** `textsKey` of these rows, one after the other. */
      wordingsSha256: z.string(),
      points: z.array(pointSchema).max(10_000),
    }),
  ),
});
export type KeptMap = z.infer<typeof keptMapSchema>;
export type KeptPanel = KeptMap['panels'][number];
export type KeptPoint = KeptPanel['points'][number];

export const textsKey = (texts: readonly string[]): string => sha256Of(canonicalJson([...texts]));

/** @throws ZodError for a file that is none. */
export const parseKeptMap = (text: string): KeptMap => keptMapSchema.parse(JSON.parse(text));

type Vectors = Extract<TextVectors, { kind: 'made' }>;

/** For each attack, the nearest successes with other texts. */
function nearestOf(attacks: readonly EvaluatedAttack[], vectors: Vectors): KeptPoint['near'][] {
  const matrix = vectors.matrixOf(attacks.map(({ text }) => text));
  // Of several rows with one text the first counts.
  const first = new Map<string, number>();
  for (const [i, { text, isSuccess }] of attacks.entries()) if (isSuccess && !first.has(text)) first.set(text, i);
  return attacks.map(({ text }, i) => {
    const others = [...first].filter(([other]) => other !== text).map(([, j]) => j);
    return others
      .map((j) => ({ id: (attacks[j] as EvaluatedAttack).id, cosine: cosineOfRows(matrix, i, j) }))
      .sort((a, b) => b.cosine - a.cosine || a.id - b.id)
      .slice(0, MAX_NEAR);
  });
}

interface MapParts {
  readonly map: AttackMap | undefined;
  readonly evaluations: readonly EvaluatedStage[];
  readonly clusters: SuccessClusters | undefined;
  readonly vectors: TextVectors;
}

/** The drawn map with the rows of its points; undefined where nothing was drawn. */
export function keptMapOf({ map, evaluations, clusters, vectors }: MapParts): KeptMap | undefined {
  if (map === undefined || vectors.kind === 'missing') return undefined;
  const panels = map.panels.map(({ stage, points, leftOut }) => {
    const all = evaluations.find((each) => each.stage === stage)?.attacks ?? [];
    const attacks = all.slice(0, points.length);
    const groups = clusters?.stage === stage ? clusters.clusters : [];
    const wordings = new Map(groups.flatMap(({ members }, i) => members.map((member) => [member, i + 1] as const)));
    const grouped = groups.map(({ members }) => members.map((member) => all[member] as EvaluatedAttack));
    const near = nearestOf(attacks, vectors);
    return {
      ...{ stage, leftOut, textsSha256: textsKey(attacks.map(({ text }) => text)) },
      wordings: grouped.map((members) => members.map(({ id }) => id)),
      wordingsSha256: textsKey(grouped.flat().map(({ text }) => text)),
      points: attacks.map(({ id, isSuccess }, i) => ({
        ...{ id, x: points[i]?.x ?? 0, y: points[i]?.y ?? 0, isSuccess },
        ...{ wording: wordings.get(i) ?? null, near: near[i] ?? [] },
      })),
    };
  });
  return { mapVersion: 1, encoder: vectors.encoder, shownShare: map.shownShare, panels };
}
