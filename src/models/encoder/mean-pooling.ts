import type { EncoderBatch } from './encoder-batch.ts';

/** Mean over the tokens of each row, padding left out: [rows, tokens, width] -> [rows, width]. */
export function meanOverTokens(hidden: Float32Array, batch: EncoderBatch, width: number): Float32Array {
  const { rows, tokens, mask } = batch;
  const means = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const kept = mask.slice(row * tokens, (row + 1) * tokens).reduce((sum, m) => sum + m, 0);
    for (let i = 0; i < width; i++) {
      let sum = 0;
      for (let t = 0; t < kept; t++) sum += hidden[(row * tokens + t) * width + i] as number; // padding is on the right
      means[row * width + i] = kept === 0 ? 0 : sum / kept;
    }
  }
  return means;
}

/** Each row scaled to L2 length 1; a zero row stays zero. */
export function normaliseRows(values: Float32Array, width: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += width) {
    const row = values.subarray(start, start + width);
    const length = Math.max(Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)), 1e-12);
    result.set(
      row.map((x) => x / length),
      start,
    );
  }
  return result;
}
