import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { symbolSize } from '../../engine/graph/size.ts';

/** Low enough that exp() is exactly 0 in fp32, and finite, so that no gradient becomes NaN. */
export const BANNED_LOGIT = -1e9;

/** Which tokens the sampler never draws, and which end a sequence (banned only before the minimum length). */
export interface TokenBans {
  readonly always: readonly number[];
  readonly end: readonly number[];
}

/**
 * The sampler's own logits: `logits` [N, V] with always-banned tokens removed, and end tokens removed on rows where
 * `endBan` [N] is 1. Log-probs of these are those of the distribution that is sampled, so that fresh, replayed and
 * reference log-probs all count the same set of tokens.
 */
export function samplerLogits(g: GraphBuilder, logits: Value, endBan: Value, bans: TokenBans): Value {
  const vocabulary = logits.shape[1] as number;
  const always = new Float32Array(vocabulary);
  const end = new Float32Array(vocabulary);
  for (const id of bans.always) always[id] = BANNED_LOGIT;
  for (const id of bans.end) if (always[id] === 0) end[id] = BANNED_LOGIT;
  const rows = logits.shape[0] ?? symbolSize('N');
  const endRow = g.constant('float32', [1, vocabulary], end);
  const allowed = g.add(logits, g.constant('float32', [1, vocabulary], always));
  return g.add(allowed, g.multiply(g.reshape(endBan, [rows, 1]), endRow));
}
