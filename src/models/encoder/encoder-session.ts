import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import type { ProgressSink } from '../../base/progress.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { openSession } from '../../engine/runtime/session.ts';
import { float32Tensor, int64Tensor } from '../../engine/runtime/tensors.ts';
import type { EncoderCheckpoint } from '../checkpoint/checkpoint.ts';
import type { EncoderConfig } from '../checkpoint/encoder-config.ts';
import { type Int8Store, openInt8Weights, type Precision } from '../quantised/int8-weights.ts';
import { OBSERVED_TEXTS, observedName, observeInputs } from '../quantised/observe-inputs.ts';
import type { ChannelMaxima } from '../quantised/quantise.ts';
import { buildEncoderGraph, encoderLinears, positionIds } from './encoder-graph.ts';
import {
  createInputEncoder,
  type EncoderBatch,
  type EncoderInput,
  type EncoderText,
  padBatch,
  runInBatches,
} from './encoder-input.ts';

/** An encoder's session with texts as input: one row of numbers for each text. */
export interface EncoderSession {
  /** Numbers in each row. */
  readonly width: number;
  /** Returns [texts, width] row-major. @throws FloodgateError `interrupted` between batches, on abort. */
  run(texts: readonly EncoderText[], signal?: AbortSignal): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Settings for an encoder's session. */
export interface EncoderRuntime extends ComputeOptions {
  /** Form of the layers' weights; fp32 when absent. */
  readonly precision?: Precision | undefined;
  /** Told of int8 weights that are made. */
  readonly progress?: ProgressSink | undefined;
}

function feedsOf(config: EncoderConfig, batch: EncoderBatch): Record<string, Tensor> {
  const shape = [batch.rows, batch.tokens];
  return {
    ids: int64Tensor(batch.ids, shape),
    mask: float32Tensor(Float32Array.from(batch.mask), shape),
    positions: int64Tensor(positionIds(config, batch.tokens), [batch.tokens]),
    ...(config.tokenTypes > 0 ? { tokenTypes: int64Tensor(batch.tokenTypes, shape) } : {}),
  };
}

/** Opens the int8 weights of an encoder; makes them once, beside its fp32 weight file. */
function openInt8Encoder(
  { config, weights }: EncoderCheckpoint,
  toInput: (text: EncoderText) => EncoderInput,
  { progress, ...compute }: EncoderRuntime,
): Promise<Int8Store> {
  const linears = encoderLinears(config);
  const observe = (): Promise<ChannelMaxima> => {
    const graph = buildEncoderGraph(config, weights, {
      observe: (g, weight, x) => g.output(observedName(weight), x),
    });
    const feeds = OBSERVED_TEXTS.map((text) => feedsOf(config, padBatch([toInput({ text })], config.padId)));
    return observeInputs(graph, linears, { feeds, weightPath: weights.path }, compute);
  };
  return openInt8Weights(linears, weights, observe, progress);
}

/**
 * Opens the checkpoint's graph; a row holds logits for a classifier, else the sentence embedding.
 * @throws FloodgateError `store` when the disk refuses the int8 weights.
 */
export async function openEncoderSession(
  checkpoint: EncoderCheckpoint,
  { precision = 'fp32', progress, ...compute }: EncoderRuntime,
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
  const form =
    precision === 'int8' ? { int8: await openInt8Encoder(checkpoint, toInput, { ...compute, progress }) } : {};
  const session = await openSession(buildEncoderGraph(config, weights, form), {
    ...compute,
    label: `encoder ${spec}`,
    weightFolder: path.dirname(weights.path),
  });
  const runBatch = async (batch: EncoderBatch): Promise<Float32Array> => {
    const result = new Float32Array(batch.rows * width);
    // Naming the output avoids copying the hidden states.
    await session.run(feedsOf(config, batch), { [output]: float32Tensor(result, [batch.rows, width]) });
    return result;
  };
  return {
    width,
    run: (texts, signal) => runInBatches(texts.map(toInput), { padId: config.padId, width, signal }, runBatch),
    close: () => session.close(),
  };
}
