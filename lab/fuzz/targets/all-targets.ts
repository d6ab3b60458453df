import type { FuzzTarget } from '../fuzz-target.ts';
import { createConfigTarget } from './config-target.ts';
import { createGgufTarget } from './gguf-target.ts';
import { createSafetensorsTarget } from './safetensors-target.ts';
import { createSeedsTarget } from './seeds-target.ts';
import { createTokenizerTarget } from './tokenizer-target.ts';
import { createWheelTarget } from './wheel-target.ts';

/** Every parser under fire; `root` is the repository, whose fixtures are mutated. */
export function createAllTargets(root: string): readonly FuzzTarget[] {
  return [
    createSafetensorsTarget(root),
    createGgufTarget(root),
    createTokenizerTarget(root),
    createWheelTarget(root),
    createConfigTarget(root),
    createSeedsTarget(root),
  ];
}
