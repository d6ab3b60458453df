import type { ComputeOptions } from '../engine/runtime/device.ts';
import { type Attacker, type AttackerState, openAttacker } from '../learning/attacker.ts';
import type { WeightStore } from '../models/formats/weight-store.ts';
import { MAX_REQUEST_TOKENS, MIN_REQUEST_TOKENS, PICO_CONFIG, WORLD_TOKENIZER } from './pico-model.ts';
import { type BuildOptions, trainLesson } from './world-lesson.ts';
import { SFT_RECIPE, WORLD_META_PROMPT } from './world-spec.ts';

/** The pico attacker of a world, every weight trained. */
export function openPicoAttacker(weights: WeightStore, compute: ComputeOptions): Promise<Attacker> {
  return openAttacker(
    {
      config: PICO_CONFIG,
      weights,
      tokenizer: WORLD_TOKENIZER,
      trainable: { kind: 'full' },
      metaPrompt: WORLD_META_PROMPT,
      minTokens: MIN_REQUEST_TOKENS,
      maxTokens: MAX_REQUEST_TOKENS,
      contextTokens: PICO_CONFIG.maxPositions,
    },
    compute,
  );
}

/** Stage of the world's own reference, in its checkpoints and random streams. */
export const REFERENCE = 'reference';

/** Trains the world's own reference on its seeds: the distribution by which keys are chosen and the world is admitted. */
export async function trainReference(
  attacker: Attacker,
  seeds: readonly string[],
  options: BuildOptions & { readonly seed: number },
): Promise<AttackerState> {
  const examples = seeds.map((text) => ({ row: attacker.rowOf(attacker.tokensOf(text)), weight: 1 }));
  const lesson = { stage: REFERENCE, seed: options.seed, examples, recipe: SFT_RECIPE };
  return attacker.stateOf(await trainLesson(attacker, lesson, options));
}
