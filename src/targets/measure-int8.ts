import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { Int8Options } from '../models/decoder/declare-model.ts';
import { type Divergence, measureDivergence } from '../models/decoder/divergence.ts';

/** Prompts compared; each takes two sessions. */
const PROMPTS = 4;

/** How far a target in int8 is from itself in fp32, on the first prompts that it is asked (token ids). */
export function measureInt8(
  { config, weights }: DecoderCheckpoint,
  int8: Int8Options,
  prompts: readonly (readonly number[])[],
  compute: ComputeOptions,
): Promise<Divergence> {
  const texts = prompts.filter((ids) => ids.length > 1).slice(0, PROMPTS);
  const reference = { config, weights, contextTokens: Math.max(1, ...texts.map((ids) => ids.length)) };
  return measureDivergence(reference, { ...reference, int8 }, texts, compute);
}
