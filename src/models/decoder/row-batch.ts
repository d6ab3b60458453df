import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import { maxOf } from '../../base/long-lists.ts';
import { type Device, takesEmptyTensors } from '../../engine/runtime/device.ts';
import { float32Data, float32Tensor, int64Tensor } from '../../engine/runtime/tensors.ts';

/** Tokens of one sequence after the shared prompt, with the end token when it was drawn. */
export type TokenRow = readonly number[];

export interface RowBatch {
  /** The shared prompt, at least one token. */
  readonly prompt: readonly number[];
  readonly rows: readonly TokenRow[];
}

export interface TargetOptions {
  /** End tokens are banned at 0-based positions below this. */
  readonly minTokens: number;
  /** Whether a token of a row counts; every token when absent. */
  readonly isCounted?: (row: number, position: number) => boolean;
}

const MASKED = -1e9;

/** Additive causal mask [rows, columns]; row t sees columns 0..offset+t. */
function causalMask(rows: number, columns: number, offset: number): Tensor {
  const mask = new Float32Array(rows * columns);
  for (let t = 0; t < rows; t++) mask.fill(MASKED, t * columns + Math.min(offset + t + 1, columns), (t + 1) * columns);
  return float32Tensor(mask, [rows, columns]);
}

/**
 * Feeds of the shared-prefix graphs for streams that follow a prefix: prefix = prompt without its last token,
 * streams [B][R] right-padded with 0.
 */
export function streamFeeds(prompt: readonly number[], streams: readonly TokenRow[]): Record<string, Tensor> {
  if (prompt.length === 0) throw new FloodgateError('model', 'batch rows: the shared prompt is empty');
  const P = prompt.length - 1;
  const R = maxOf(streams.map((stream) => stream.length));
  const B = streams.length;
  const ids = new Float64Array(B * R);
  const positions = new Float64Array(B * R);
  for (const [b, stream] of streams.entries()) {
    ids.set(stream, b * R);
    for (let t = 0; t < R; t++) positions[b * R + t] = P + t;
  }
  return {
    prefixIds: int64Tensor(prompt.slice(0, P), [P]),
    rowIds: int64Tensor(ids, [B, R]),
    prefixPositions: int64Tensor(
      Array.from({ length: P }, (_, t) => t),
      [P],
    ),
    rowPositions: int64Tensor(positions, [B, R]),
    prefixMask: causalMask(P, P, 0),
    rowMask: causalMask(R, P + R, P),
  };
}

/**
 * The feeds with a prefix of at least one token, for devices that take no tensor without elements: one that no row
 * sees. Its keys and values are in the prefill's outputs, and a decode step must hide them too.
 */
export function withFilledPrefix(feeds: Record<string, Tensor>, device: Device): Record<string, Tensor> {
  if (takesEmptyTensors(device) || feeds.prefixIds?.size !== 0) return feeds;
  const R = feeds.rowMask?.dims[0] as number;
  const mask = new Float32Array(R * (R + 1));
  const seen = float32Data(feeds.rowMask);
  for (let t = 0; t < R; t++) {
    mask[t * (R + 1)] = MASKED;
    mask.set(seen.subarray(t * R, (t + 1) * R), t * (R + 1) + 1);
  }
  return {
    ...feeds,
    prefixIds: int64Tensor([0], [1]),
    prefixPositions: int64Tensor([0], [1]),
    prefixMask: float32Tensor(new Float32Array(1), [1, 1]),
    rowMask: float32Tensor(mask, [R, R + 1]),
  };
}

/** @throws FloodgateError `model` when there are no rows, or one has no token. */
export function refuseEmptyRows(rows: readonly TokenRow[]): void {
  if (rows.length > 0 && rows.every((row) => row.length > 0)) return;
  throw new FloodgateError('model', `batch rows: got ${rows.length} rows, one of them empty; expected tokens in each`);
}

/** Feeds of a step over attack rows: row i reads [last prompt token, x_1 .. x_{T-1}] and predicts x_1 .. x_T. */
export function rowFeeds(batch: RowBatch, options: TargetOptions): Record<string, Tensor> {
  const { prompt, rows } = batch;
  refuseEmptyRows(rows);
  const last = prompt.at(-1) as number;
  const R = maxOf(rows.map((row) => row.length));
  const B = rows.length;
  const targets = new Float64Array(B * R);
  const mask = new Float32Array(B * R);
  const endBan = new Float32Array(B * R);
  for (const [b, row] of rows.entries()) {
    targets.set(row, b * R);
    for (let t = 0; t < row.length; t++) {
      if (options.isCounted?.(b, t) ?? true) mask[b * R + t] = 1;
      if (t < options.minTokens) endBan[b * R + t] = 1;
    }
  }
  return {
    ...streamFeeds(
      prompt,
      rows.map((row) => [last, ...row.slice(0, -1)]),
    ),
    targetIds: int64Tensor(targets, [B, R]),
    targetMask: float32Tensor(mask, [B, R]),
    endBan: float32Tensor(endBan, [B, R]),
  };
}

export interface GroupLimits {
  readonly maxRows: number;
  /** Of a group padded to its longest row: rows x longest. A row above this limit is a group of its own. */
  readonly maxTokens: number;
}

/**
 * Splits rows of these lengths, in order, into groups within the limits: [start, end) each. Bounds memory, changes no
 * row.
 */
export function groupRows(lengths: readonly number[], limits: GroupLimits): [start: number, end: number][] {
  const groups: [number, number][] = [];
  let start = 0;
  let longest = 0;
  for (const [row, length] of lengths.entries()) {
    const padded = Math.max(longest, length);
    const rows = row - start + 1;
    if (rows > 1 && (rows > limits.maxRows || rows * padded > limits.maxTokens)) {
      groups.push([start, row]);
      start = row;
      longest = length;
    } else {
      longest = padded;
    }
  }
  if (lengths.length > 0) groups.push([start, lengths.length]);
  return groups;
}
