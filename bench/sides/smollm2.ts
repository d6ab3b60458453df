import { FloodgateError } from '../../src/base/errors.ts';
import { silentProgress } from '../../src/base/progress.ts';
import { type OpenedGguf, openGguf } from '../../src/models/checkpoint/gguf-checkpoint.ts';
import { GENERATION, SMALL_GENERATION } from './shapes.ts';
import type { SideOptions } from './side.ts';

/** Sequences, prompt and new tokens of one generation run. */
export function generationSize({ isSmall, batch }: SideOptions) {
  return isSmall ? { batch: Math.min(batch, 2), ...SMALL_GENERATION } : { batch, ...GENERATION };
}

/** SmolLM2's fp32 weights, converted once into the cache. */
export async function openSmollm2({ gguf, cacheDir }: SideOptions): Promise<OpenedGguf> {
  if (gguf === undefined) throw new FloodgateError('usage', 'bench: this side needs --gguf FILE');
  return openGguf(gguf, { cacheDir, progress: silentProgress });
}
