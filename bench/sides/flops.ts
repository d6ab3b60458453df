import type { DecoderConfig } from '../../src/models/checkpoint/decoder-config.ts';
import type { EncoderConfig } from '../../src/models/checkpoint/encoder-config.ts';
import { decoderProjections } from '../../src/models/decoder/lora.ts';
import { RANK, RESPONSE_TOKENS, RESPONSES, type StepShape } from './shapes.ts';

/*
 * Floating-point operations of the matmuls with weights, 2 a multiply-add. Attention scores and elementwise work are
 * left out (under 3% at these lengths), so that a share of the limit is never flattered.
 */

/** A forward pass over `tokens` tokens that reads `logitRows` rows of logits. */
export function forwardFlops(config: DecoderConfig, tokens: number, logitRows: number): number {
  const layers = decoderProjections(config).reduce((sum, { inSize, outSize }) => sum + inSize * outSize, 0);
  return 2 * (layers * tokens + config.vocabSize * config.width * logitRows);
}

/** Generation of `rows` sequences whose different prompts hold `promptTokens` tokens in all. */
export function generateFlops(config: DecoderConfig, rows: number, promptTokens: number, newTokens: number): number {
  const decoded = rows * (newTokens - 1); // the last token is never fed back
  return forwardFlops(config, promptTokens, rows) + forwardFlops(config, decoded, decoded);
}

/** Forward and backward of the shared-prompt step: frozen weights need no gradient, so backward costs one forward. */
export function trainStepFlops({ batch, tokens, prompt, config }: StepShape): number {
  const rows = batch * tokens;
  const all = prompt - 1 + rows;
  const lora = config.layers * RANK * (config.width + 3 * config.width);
  return 2 * forwardFlops(config, all, rows) + 3 * 2 * lora * all;
}

function encoderFlops({ layers, width, feedForwardWidth }: EncoderConfig, tokens: number): number {
  return 2 * layers * (4 * width * width + 2 * width * feedForwardWidth) * tokens;
}

/** The least that the micro-step must compute: every shared prompt once. */
export function microStepFlops(shape: StepShape, judge: EncoderConfig): number {
  const { batch, tokens, prompt, config } = shape;
  const responses = batch * RESPONSES;
  const sampling = generateFlops(config, batch, prompt, tokens);
  const reference = forwardFlops(config, prompt - 1 + batch * tokens, batch * tokens);
  const target = generateFlops(config, responses, batch * tokens, RESPONSE_TOKENS);
  const judging = encoderFlops(judge, responses * (tokens + RESPONSE_TOKENS + 2));
  return sampling + reference + target + judging + trainStepFlops(shape);
}
