import { createEmbeddingMatrix, type EmbeddingMatrix, selectRows } from '../../metrics/embedding-matrix.ts';
import type { EvaluatedStage } from '../figures/evaluated-attacks.ts';

/** Sentence embeddings of the evaluated attacks, or why there are none: this room opens no models. */
export type TextVectors =
  | { readonly kind: 'made'; readonly encoder: string; matrixOf(texts: readonly string[]): EmbeddingMatrix }
  | { readonly kind: 'missing'; readonly encoder: string; readonly reason: string };

/** Returns each text of the evaluations once, in their order: what a caller must embed. */
export function textsToEmbed(evaluations: readonly EvaluatedStage[]): string[] {
  return [...new Set(evaluations.flatMap(({ attacks }) => attacks.map(({ text }) => text)))];
}

/**
 * Vectors by text; `flat` holds one L2-normalised row [width] for each of `texts`.
 * @throws FloodgateError `usage` when the sizes do not fit or a row is not L2-normalised.
 */
export function createTextVectors(encoder: string, texts: readonly string[], flat: Float32Array): TextVectors {
  const matrix = createEmbeddingMatrix(flat, texts.length, Math.max(1, flat.length / Math.max(1, texts.length)));
  const rows = new Map(texts.map((text, row) => [text, row]));
  return {
    kind: 'made',
    encoder,
    matrixOf: (wanted) =>
      selectRows(
        matrix,
        wanted.map((text) => rows.get(text) ?? -1),
      ),
  };
}
