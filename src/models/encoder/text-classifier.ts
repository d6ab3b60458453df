import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { EncoderCheckpoint } from '../checkpoint/checkpoint.ts';
import type { EncoderText } from './encoder-input.ts';
import { type EncoderSession, openEncoderSession } from './encoder-session.ts';
import { activationOf, type LabelActivation, labelProbabilities } from './label-activation.ts';

/** Texts, or pairs of texts, to a probability a label. */
export interface TextClassifier {
  /** Names of the outputs, in order. */
  readonly labels: readonly string[];
  readonly activation: LabelActivation;
  /** Returns a row of probabilities a text, [texts][labels]; what is beyond the window is cut, the end first. */
  classify(texts: readonly EncoderText[]): Promise<Float32Array[]>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function textClassifierOf(
  session: EncoderSession,
  labels: readonly string[],
  activation: LabelActivation,
): TextClassifier {
  return {
    labels,
    activation,
    classify: async (texts) => labelProbabilities(await session.run(texts), labels.length, activation),
    close: () => session.close(),
    [Symbol.asyncDispose]: () => session.close(),
  };
}

/**
 * Opens a sequence classifier (BERT, RoBERTa, DistilBERT). Close it when done.
 * `activation` overrides what the checkpoint's `problem_type` says.
 * @throws FloodgateError `model` when the checkpoint has no classification head.
 */
export async function openTextClassifier(
  checkpoint: EncoderCheckpoint,
  options: { readonly runtime: ComputeOptions; readonly activation?: LabelActivation },
): Promise<TextClassifier> {
  const { config, spec } = checkpoint;
  if (config.labels.length === 0) {
    throw new FloodgateError('model', `open classifier ${spec}: the checkpoint has no classification head`);
  }
  const session = await openEncoderSession(checkpoint, options.runtime);
  return textClassifierOf(session, config.labels, options.activation ?? activationOf(config.problem));
}
