import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { isLocalLayer } from '../checkpoint/gemma-config.ts';

/** Lower than any score, and finite. */
export const MASKED = -1e9;

/** Factor of every query-key product. */
export function attentionScale(config: DecoderConfig): number {
  return 1 / Math.sqrt(config.family === 'gemma3' ? config.queryScalar : config.headWidth);
}

/** Tokens that a local layer sees, the current one among them; undefined where all of the context is within reach. */
export function attentionWindow(config: DecoderConfig, contextTokens: number): number | undefined {
  if (config.family !== 'gemma3' || config.slidingWindow >= contextTokens) return undefined;
  return config.slidingWindow;
}

/** Whether the window limits this layer's attention. */
export function isWindowed(config: DecoderConfig, layer: number): boolean {
  return config.family === 'gemma3' && isLocalLayer(config, layer);
}

export interface WindowPositions {
  /** float32, last axis 1: positions of the queries. */
  readonly queries: Value;
  /** float32, the axis before the last is 1: positions of the keys. */
  readonly keys: Value;
}

/** Additive mask of a window: 0 for a key less than `window` positions before its query, very negative beyond. */
export function windowMask(g: GraphBuilder, { queries, keys }: WindowPositions, window: number): Value {
  const excess = g.subtract(g.subtract(queries, keys), g.scalar(window - 1)); // whole numbers: above 0 is at least 1
  return g.multiply(g.clip(excess, 0, 1), g.scalar(MASKED));
}
