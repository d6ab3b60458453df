import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { LabelActivation } from './label-activation.ts';
import { meanOverTokens, normaliseRows } from './mean-pooling.ts';
import { loadOnnxModelFiles } from './onnx-model-files.ts';
import { type OnnxOutput, openOnnxSession } from './onnx-session.ts';
import { type TextClassifier, textClassifierOf } from './text-classifier.ts';
import { type SentenceEncoder, sentenceEncoderOf } from './text-encoder.ts';

const LOGITS: OnnxOutput = { names: ['logits'], ranks: [2], toRows: (data) => data };

/** A pooled embedding as it is, token embeddings by their mean; of L2 length 1 either way. */
const EMBEDDING: OnnxOutput = {
  names: ['sentence_embedding', 'last_hidden_state', 'token_embeddings'],
  ranks: [2, 3],
  toRows: (data, dims, batch) => {
    const width = dims.at(-1) as number;
    return normaliseRows(dims.length === 2 ? data : meanOverTokens(data, batch, width), width);
  },
};

export interface OnnxClassifierOptions {
  readonly runtime: ComputeOptions;
  /** Default: as config.json's `problem_type` says; exclusive labels where it says nothing. */
  readonly activation?: LabelActivation;
  /** Names of the outputs where config.json gives none. */
  readonly labels?: readonly string[];
}

/**
 * Opens a classifier that comes as an ONNX file, as it is; `location` is the file or its folder, with tokenizer.json
 * beside it (or above `onnx/`). Close it when done.
 * @throws FloodgateError `model` when the file is no text classifier, or its outputs and labels differ in number.
 */
export async function openOnnxClassifier(location: string, options: OnnxClassifierOptions): Promise<TextClassifier> {
  const files = await loadOnnxModelFiles(location);
  const session = await openOnnxSession(files, options.runtime, LOGITS);
  const labels = files.labels.length > 0 ? files.labels : (options.labels ?? []);
  if (labels.length !== session.width) {
    await session.close();
    throw new FloodgateError(
      'model',
      `open ${files.modelPath}: it has ${session.width} outputs, but ${labels.length} labels are named`,
      { hint: 'name them: labels' },
    );
  }
  return textClassifierOf(session, labels, options.activation ?? files.activation);
}

/** Opens a sentence encoder (mean pooling, L2-normalised) that comes as an ONNX file, as it is. Close it when done. */
export async function openOnnxEncoder(
  location: string,
  options: { readonly runtime: ComputeOptions },
): Promise<SentenceEncoder> {
  return sentenceEncoderOf(await openOnnxSession(await loadOnnxModelFiles(location), options.runtime, EMBEDDING));
}
