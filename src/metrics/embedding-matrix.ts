import { FloodgateError } from '../base/errors.ts';
import { assertUnitRow, dotAt } from '../base/flat-vectors.ts';
import type { Steps } from './steps.ts';

/** Sentence embeddings [n, D], row-major in one buffer, every row L2-normalised: a cosine is a dot product. */
export interface EmbeddingMatrix {
  readonly data: Float32Array;
  readonly rows: number;
  readonly width: number;
}

/**
 * A checked [rows, width] matrix over `data` (not copied).
 * @throws FloodgateError `usage` when the sizes do not fit or a row is not L2-normalised.
 */
export function createEmbeddingMatrix(data: Float32Array, rows: number, width: number): EmbeddingMatrix {
  const isSized = Number.isSafeInteger(rows) && rows >= 0 && Number.isSafeInteger(width) && width >= 1;
  if (!isSized || data.length !== rows * width) {
    throw new FloodgateError(
      'usage',
      `embedding matrix: size does not fit, got ${data.length} numbers, expected ${rows} rows of ${width}`,
    );
  }
  for (let row = 0; row < rows; row++) assertUnitRow(data, row * width, width, `embedding matrix, row ${row}`);
  return { data, rows, width };
}

/** The cosine similarity of rows i and j. */
export function cosineOfRows({ data, width }: EmbeddingMatrix, i: number, j: number): number {
  return dotAt(data, i * width, data, j * width, width);
}

/** A new matrix of the named rows, in that order. @throws FloodgateError `usage` for a row that does not exist. */
export function selectRows(matrix: EmbeddingMatrix, indices: readonly number[]): EmbeddingMatrix {
  const { data, rows, width } = matrix;
  const selected = new Float32Array(indices.length * width);
  indices.forEach((row, i) => {
    if (!(Number.isInteger(row) && row >= 0 && row < rows)) {
      throw new FloodgateError('usage', `select rows: row does not exist, got ${row}, expected 0..${rows - 1}`);
    }
    selected.set(data.subarray(row * width, (row + 1) * width), i * width);
  });
  return { data: selected, rows: indices.length, width };
}

/** Lower triangle of X^T X [D, D]: O(n D^2), less where rows are mostly zeros, as bags of words are. */
export function* columnGram({ data, rows, width }: EmbeddingMatrix): Steps<Float64Array> {
  const gram = new Float64Array(width * width);
  for (let row = 0; row < rows; row++) {
    yield;
    const x = data.subarray(row * width, (row + 1) * width);
    for (let i = 0; i < width; i++) {
      const xi = x[i] as number;
      if (xi === 0) continue;
      for (let j = 0; j <= i; j++) gram[i * width + j] = (gram[i * width + j] as number) + xi * (x[j] as number);
    }
  }
  return gram;
}
