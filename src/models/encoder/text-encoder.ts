import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { EncoderCheckpoint } from '../checkpoint/checkpoint.ts';
import { type EncoderSession, openEncoderSession } from './encoder-session.ts';

/** Maps texts to vectors; the dot product of two is the cosine similarity of the texts. */
export interface SentenceEncoder {
  /** Numbers in each vector. */
  readonly width: number;
  /**
   * Returns [texts, width] row-major, each row of L2 length 1. Cuts texts beyond the window at the end.
   * @throws FloodgateError `interrupted` between batches, when `signal` was aborted.
   */
  embed(texts: readonly string[], signal?: AbortSignal): Promise<Float32Array>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function sentenceEncoderOf(session: EncoderSession): SentenceEncoder {
  return {
    width: session.width,
    embed: (texts, signal) =>
      session.run(
        texts.map((text) => ({ text })),
        signal,
      ),
    close: () => session.close(),
    [Symbol.asyncDispose]: () => session.close(),
  };
}

/**
 * Opens a sentence encoder (mean pooling, L2-normalised), such as MiniLM. Close it when done.
 * @throws FloodgateError `model` when the checkpoint is a classifier.
 */
export async function openTextEncoder(
  checkpoint: EncoderCheckpoint,
  options: { readonly runtime: ComputeOptions },
): Promise<SentenceEncoder> {
  const { config, spec } = checkpoint;
  if (config.labels.length > 0) {
    throw new FloodgateError(
      'model',
      `open sentence encoder ${spec}: it is a classifier of ${config.labels.join(', ')}, expected an encoder without a head`,
    );
  }
  return sentenceEncoderOf(await openEncoderSession(checkpoint, options.runtime));
}
