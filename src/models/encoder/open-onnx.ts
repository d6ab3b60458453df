import type { Tensor } from 'onnxruntime-common';
import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSessionFile } from '../../engine/runtime/session.ts';
import { float32Data, int64Tensor } from '../../engine/runtime/tensors.ts';
import { createInputEncoder, type EncoderBatch, padBatch, runInBatches } from './encoder-input.ts';
import type { EncoderSession } from './encoder-session.ts';
import { loadOnnxModelFiles, type OnnxModelFiles } from './onnx-model-files.ts';
import { type LabelActivation, type TextClassifier, textClassifierOf } from './text-classifier.ts';
import { type SentenceEncoder, sentenceEncoderOf } from './text-encoder.ts';

const LOGITS: OnnxOutput = { names: ['logits'], ranks: [2], toRows: (data) => data };

/** Uses a pooled embedding unchanged and token embeddings by their mean; scales either to L2 length 1. */
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
  /** Default: as `problem_type` in config.json; exclusive labels when it is absent. */
  readonly activation?: LabelActivation;
  /** Names of the outputs where config.json gives none. */
  readonly labels?: readonly string[];
}

/**
 * Opens a classifier from an ONNX file, unchanged. `location` is the file or its folder, with tokenizer.json beside it
 * (or above `onnx/`). Close it when done.
 * @throws FloodgateError `model` when the file is not a text classifier, or its outputs and labels differ in number.
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

/** Opens a sentence encoder (mean pooling, L2-normalised) from an ONNX file, unchanged. Close it when done. */
export async function openOnnxEncoder(
  location: string,
  options: { readonly runtime: ComputeOptions },
): Promise<SentenceEncoder> {
  return sentenceEncoderOf(await openOnnxSession(await loadOnnxModelFiles(location), options.runtime, EMBEDDING));
}

/** Mean over the tokens of each row, padding left out: [rows, tokens, width] -> [rows, width]. */
export function meanOverTokens(hidden: Float32Array, batch: EncoderBatch, width: number): Float32Array {
  const { rows, tokens, mask } = batch;
  const means = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const kept = mask.slice(row * tokens, (row + 1) * tokens).reduce((sum, m) => sum + m, 0);
    for (let i = 0; i < width; i++) {
      let sum = 0;
      for (let t = 0; t < kept; t++) sum += hidden[(row * tokens + t) * width + i] as number; // padding is on the right
      means[row * width + i] = kept === 0 ? 0 : sum / kept;
    }
  }
  return means;
}

/** Each row scaled to L2 length 1; a zero row stays zero. */
export function normaliseRows(values: Float32Array, width: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += width) {
    const row = values.subarray(start, start + width);
    const length = Math.max(Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)), 1e-12);
    result.set(
      row.map((x) => x / length),
      start,
    );
  }
  return result;
}

/** One output of the file, and the conversion of a batch of it to rows. */
export interface OnnxOutput {
  /** Names to look for, the best first. A lone output matches whatever its name, unless that is `logits`. */
  readonly names: readonly string[];
  /** Ranks that `toRows` understands. */
  readonly ranks: readonly number[];
  /** `data` of shape [rows, width] or [rows, tokens, width] -> [rows, width]. */
  toRows(data: Float32Array, dims: readonly number[], batch: EncoderBatch): Float32Array;
}

/** Data of a batch for each input name that exports use. */
const FEEDS: Readonly<Record<string, (batch: EncoderBatch) => readonly number[]>> = {
  input_ids: (batch) => batch.ids,
  attention_mask: (batch) => batch.mask,
  token_type_ids: (batch) => batch.tokenTypes,
};

function chooseOutput(session: GraphSession, wanted: OnnxOutput): string {
  const { outputNames } = session;
  const chosen = wanted.names.find((name) => outputNames.includes(name));
  if (chosen !== undefined) return chosen;
  const [lone, ...others] = outputNames;
  // Logits scaled to length 1 would look like an embedding.
  if (lone !== undefined && others.length === 0 && lone !== 'logits') return lone;
  throw new FloodgateError(
    'model',
    `open ${session.label}: got outputs ${outputNames.join(', ')}, expected one of ${wanted.names.join(', ')}`,
  );
}

function checkInputs(session: GraphSession): void {
  const foreign = session.inputNames.filter((name) => !Object.hasOwn(FEEDS, name));
  if (foreign.length === 0 && session.inputNames.includes('input_ids')) return;
  throw new FloodgateError(
    'model',
    `open ${session.label}: got inputs ${session.inputNames.join(', ')}, expected input_ids and at most ${Object.keys(FEEDS).join(', ')}`,
  );
}

function checkOutput(session: GraphSession, output: Tensor | undefined, batch: EncoderBatch, wanted: OnnxOutput): void {
  const dims = output?.dims ?? [];
  const hasTokens = dims.length !== 3 || dims[1] === batch.tokens;
  if (output?.type === 'float32' && dims[0] === batch.rows && hasTokens && wanted.ranks.includes(dims.length)) return;
  throw new FloodgateError(
    'model',
    `run ${session.label}: got ${output?.type} [${dims}] for ${batch.rows} rows of ${batch.tokens} tokens, expected float32 of rank ${wanted.ranks.join(' or ')}`,
  );
}

/**
 * Opens an ONNX file unchanged, and runs it once to learn its width.
 * @throws FloodgateError `model` when its inputs or outputs are not those of a text encoder, `runtime` when ONNX
 * Runtime refuses it.
 */
export async function openOnnxSession(
  files: OnnxModelFiles,
  runtime: ComputeOptions,
  wanted: OnnxOutput,
): Promise<EncoderSession> {
  const { modelPath, padId } = files;
  const toInput = createInputEncoder(files);
  const session = await openSessionFile(modelPath, { ...runtime, label: modelPath });
  const runBatch = async (batch: EncoderBatch): Promise<Float32Array> => {
    const shape = [batch.rows, batch.tokens];
    const feeds = session.inputNames.map((name) => [name, int64Tensor(FEEDS[name]?.(batch) ?? [], shape)] as const);
    const output = (await session.run(Object.fromEntries(feeds)))[chooseOutput(session, wanted)];
    checkOutput(session, output, batch, wanted);
    return wanted.toRows(float32Data(output), output?.dims ?? [], batch);
  };
  try {
    checkInputs(session);
    const width = (await runBatch(padBatch([toInput({ text: 'a' })], padId))).length;
    return {
      width,
      run: (texts) => runInBatches(texts.map(toInput), { padId, width }, runBatch),
      close: () => session.close(),
    };
  } catch (error) {
    await session.close();
    throw error;
  }
}
