import type { EncoderInput } from './encoder-input.ts';

/** Tokens of one run, padding included: bounds the memory of attention scores (16 x 512 x 12 heads: 200 MB). */
const MAX_BATCH_TOKENS = 8192;
const MAX_BATCH_ROWS = 64;

/** Rows of similar length, padded on the right to the longest of them. */
export interface EncoderBatch {
  readonly rows: number;
  readonly tokens: number;
  /** All row-major [rows, tokens]. */
  readonly ids: number[];
  /** 1 at tokens, 0 at padding. */
  readonly mask: number[];
  readonly tokenTypes: number[];
}

/** Indices of `lengths` in batches, longest first, so that padding stays tight. */
export function planBatches(lengths: readonly number[]): number[][] {
  const order = lengths.map((_, i) => i).sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  let tokens = 0; // of the batch's longest row, its first
  for (const index of order) {
    if (batch.length === MAX_BATCH_ROWS || (batch.length + 1) * tokens > MAX_BATCH_TOKENS) batch = [];
    if (batch.length === 0) {
      batches.push(batch);
      tokens = lengths[index] as number;
    }
    batch.push(index);
  }
  return batches;
}

export function padBatch(inputs: readonly EncoderInput[], padId: number): EncoderBatch {
  const tokens = Math.max(1, ...inputs.map(({ ids }) => ids.length));
  const columns = Array.from({ length: tokens }, (_, t) => t);
  return {
    rows: inputs.length,
    tokens,
    ids: inputs.flatMap(({ ids }) => columns.map((t) => ids[t] ?? padId)),
    mask: inputs.flatMap(({ ids }) => columns.map((t) => (t < ids.length ? 1 : 0))),
    tokenTypes: inputs.flatMap(({ tokenTypes }) => columns.map((t) => tokenTypes[t] ?? 0)),
  };
}

/**
 * Runs every input through `runBatch`, which returns [rows, width] row-major, and puts the rows back in order.
 * Returns [inputs, width].
 */
export async function runInBatches(
  inputs: readonly EncoderInput[],
  options: { readonly padId: number; readonly width: number },
  runBatch: (batch: EncoderBatch) => Promise<Float32Array>,
): Promise<Float32Array> {
  const { padId, width } = options;
  const results = new Float32Array(inputs.length * width);
  for (const indices of planBatches(inputs.map(({ ids }) => ids.length))) {
    const rows = await runBatch(
      padBatch(
        indices.map((i) => inputs[i] as EncoderInput),
        padId,
      ),
    );
    indices.forEach((index, row) => {
      results.set(rows.subarray(row * width, (row + 1) * width), index * width);
    });
  }
  return results;
}
