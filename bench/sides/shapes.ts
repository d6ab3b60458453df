import type { Gpt2Config } from '../../src/models/checkpoint/decoder-config.ts';
import type { EncoderConfig } from '../../src/models/checkpoint/encoder-config.ts';

/** The attacker's step of `peers/gpt2_step.py`: B rows of T tokens after P meta-prompt tokens. */
export interface StepShape {
  readonly batch: number;
  readonly tokens: number;
  readonly prompt: number;
  readonly config: Gpt2Config;
}

export const RANK = 32;
export const ALPHA = 16;
export const RESPONSES = 5;
export const RESPONSE_TOKENS = 30;
/** Prompt and new tokens of the generation work. */
export const GENERATION = { prompt: 30, newTokens: 32 };
export const SMALL_GENERATION = { prompt: 4, newTokens: 4 };

function gpt2(layers: number, width: number, heads: number, vocabSize: number): Gpt2Config {
  return {
    family: 'gpt2',
    vocabSize,
    width,
    layers,
    heads,
    kvHeads: heads,
    headWidth: width / heads,
    feedForwardWidth: 4 * width,
    maxPositions: 1024,
    normEpsilon: 1e-5,
    tiedEmbeddings: true,
  };
}

export function stepShape(isSmall: boolean): StepShape {
  return isSmall
    ? { batch: 3, tokens: 5, prompt: 6, config: gpt2(2, 32, 4, 100) }
    : { batch: 16, tokens: 20, prompt: 56, config: gpt2(12, 768, 12, 50257) };
}

/** RoBERTa-base with two labels. */
export function judgeConfig(isSmall: boolean): EncoderConfig {
  const size = isSmall
    ? { width: 32, layers: 2, heads: 4, feedForwardWidth: 64 }
    : { width: 768, layers: 12, heads: 12, feedForwardWidth: 3072 };
  return {
    ...size,
    family: 'roberta',
    vocabSize: 50265,
    maxPositions: 514,
    normEpsilon: 1e-12,
    padId: 1,
    tokenTypes: 1,
    labels: ['safe', 'unsafe'],
    problem: 'single-label',
    maxTokens: 512,
  };
}
