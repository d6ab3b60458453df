import path from 'node:path';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { openSession } from '../../engine/runtime/session.ts';
import { float32Tensor, int64Tensor } from '../../engine/runtime/tensors.ts';
import type { EncoderCheckpoint } from '../checkpoint/checkpoint.ts';
import { buildEncoderGraph, positionIds } from './encoder-graph.ts';
import { createInputEncoder, type EncoderBatch, type EncoderText, runInBatches } from './encoder-input.ts';

/** An encoder's session with texts as input: one row of numbers for each text. */
export interface EncoderSession {
  /** Numbers in each row. */
  readonly width: number;
  /** Returns [texts, width] row-major. @throws FloodgateError `interrupted` between batches, on abort. */
  run(texts: readonly EncoderText[], signal?: AbortSignal): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Opens the checkpoint's graph; a row holds logits for a classifier, else the sentence embedding. */
export async function openEncoderSession(
  checkpoint: EncoderCheckpoint,
  runtime: ComputeOptions,
): Promise<EncoderSession> {
  const { config, weights, tokenizer, spec } = checkpoint;
  const isClassifier = config.labels.length > 0;
  const width = isClassifier ? config.labels.length : config.width;
  const output = isClassifier ? 'logits' : 'embedding';
  const toInput = createInputEncoder({
    tokenizer,
    maxTokens: config.maxTokens,
    hasDoubleSeparator: config.family === 'roberta',
  });
  const session = await openSession(buildEncoderGraph(config, weights), {
    ...runtime,
    label: `encoder ${spec}`,
    weightFolder: path.dirname(weights.path),
  });
  const runBatch = async (batch: EncoderBatch): Promise<Float32Array> => {
    const shape = [batch.rows, batch.tokens];
    const result = new Float32Array(batch.rows * width);
    const feeds = {
      ids: int64Tensor(batch.ids, shape),
      mask: float32Tensor(Float32Array.from(batch.mask), shape),
      positions: int64Tensor(positionIds(config, batch.tokens), [batch.tokens]),
      ...(config.tokenTypes > 0 ? { tokenTypes: int64Tensor(batch.tokenTypes, shape) } : {}),
    };
    // Naming the output avoids copying the hidden states.
    await session.run(feeds, { [output]: float32Tensor(result, [batch.rows, width]) });
    return result;
  };
  return {
    width,
    run: (texts, signal) => runInBatches(texts.map(toInput), { padId: config.padId, width, signal }, runBatch),
    close: () => session.close(),
  };
}
