import type { FuzzTarget } from '../fuzz-target.ts';
import { createChatTemplateTarget } from './chat-template-target.ts';
import { createConfigTarget } from './config-target.ts';
import { createGgufModelTarget } from './gguf-model-target.ts';
import { createGgufTarget } from './gguf-target.ts';
import { createModelFolderTarget } from './model-folder-target.ts';
import { createSafetensorsTarget } from './safetensors-target.ts';
import { createSeedsTarget } from './seeds-target.ts';
import { createDecoderTarget, createNormalizerTarget, createPatternTarget } from './tokenizer-part-targets.ts';
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
    createPatternTarget(),
    createNormalizerTarget(),
    createDecoderTarget(),
    createChatTemplateTarget(root),
    createGgufModelTarget(root),
    createModelFolderTarget(root),
  ];
}
