import { FloodgateError } from '../../base/errors.ts';
import { maxOf } from '../../base/long-lists.ts';
import type { EncoderCheckpoint } from '../checkpoint/checkpoint.ts';
import type { EncoderConfig } from '../checkpoint/encoder-config.ts';
import type { EncoderText } from './encoder-input.ts';
import { type EncoderRuntime, type EncoderSession, openEncoderSession } from './encoder-session.ts';

/** How logits become probabilities: independent labels, or exclusive ones. */
export type LabelActivation = 'sigmoid' | 'softmax';

export function activationOf(problem: EncoderConfig['problem']): LabelActivation {
  return problem === 'multi-label' ? 'sigmoid' : 'softmax';
}

/**
 * Probabilities of each row of `logits` [n, labels], row by row. A row with a logit that is NaN or infinite is NaN
 * throughout: the model failed on that text, and sigmoid(-infinity) = 0 would read as a safe one.
 */
export function labelProbabilities(logits: Float32Array, labels: number, activation: LabelActivation): Float32Array[] {
  return Array.from({ length: logits.length / labels }, (_, row) => {
    const values = logits.subarray(row * labels, (row + 1) * labels);
    if (!values.every(Number.isFinite)) return new Float32Array(labels).fill(Number.NaN);
    return activation === 'sigmoid' ? values.map((x) => 1 / (1 + Math.exp(-x))) : softmax(values);
  });
}

function softmax(values: Float32Array): Float32Array {
  const largest = maxOf(values);
  const powers = Array.from(values, (x) => Math.exp(x - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return Float32Array.from(powers, (power) => power / total);
}

/** Maps texts, or pairs of texts, to one probability for each label. */
export interface TextClassifier {
  /** Names of the outputs, in order. */
  readonly labels: readonly string[];
  readonly activation: LabelActivation;
  /** Returns one row of probabilities for each text: [texts][labels]. Cuts text beyond the window, the end first. */
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
 * `activation` overrides the checkpoint's `problem_type`.
 * @throws FloodgateError `model` when the checkpoint has no classification head.
 */
export async function openTextClassifier(
  checkpoint: EncoderCheckpoint,
  options: { readonly runtime: EncoderRuntime; readonly activation?: LabelActivation },
): Promise<TextClassifier> {
  const { config, spec } = checkpoint;
  if (config.labels.length === 0) {
    throw new FloodgateError('model', `open classifier ${spec}: the checkpoint has no classification head`);
  }
  const session = await openEncoderSession(checkpoint, options.runtime);
  return textClassifierOf(session, config.labels, options.activation ?? activationOf(config.problem));
}
