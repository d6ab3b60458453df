import { readFileSync } from 'node:fs';
import { createEmbeddingMatrix, type EmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';

interface EmbeddingCase {
  readonly rows: number;
  readonly width: number;
  readonly data: string;
  readonly meanCosineDistance: number;
  readonly vendi: number;
  readonly clusters: readonly (readonly number[])[];
}

/** Written by scripts/golden/metrics.py. */
interface GoldenMetrics {
  readonly quantiles: {
    readonly normal: readonly [number, number][];
    readonly studentT: readonly [number, number, number][];
  };
  readonly wilson: readonly [number, number, number, number, number][];
  readonly tIntervals: readonly { values: number[]; mean: number; low: number; high: number }[];
  readonly kappas: readonly { table: [[number, number], [number, number]]; kappa: number }[];
  readonly texts: readonly string[];
  readonly selfBleu: { readonly value: number; readonly byOrder: Record<string, number> };
  readonly lexical: { readonly distinct1: number; readonly distinct2: number; readonly vocabulary: number };
  readonly embeddings: readonly EmbeddingCase[];
  readonly eigenvalues: readonly { n: number; matrix: number[]; eigenvalues: number[] }[];
}

const file = new URL('../golden/metrics/metrics.json', import.meta.url);
export const golden = JSON.parse(readFileSync(file, 'utf8')) as GoldenMetrics;

export function matrixOf({ data, rows, width }: EmbeddingCase): EmbeddingMatrix {
  const bytes = new Uint8Array(Buffer.from(data, 'base64'));
  return createEmbeddingMatrix(new Float32Array(bytes.buffer), rows, width);
}

/** The largest difference relative to the expected magnitude (absolute below 1). */
export function relativeError(actual: number, expected: number): number {
  return Math.abs(actual - expected) / Math.max(1, Math.abs(expected));
}
