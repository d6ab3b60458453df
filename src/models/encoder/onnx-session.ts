import type { Tensor } from 'onnxruntime-common';
import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSessionFile } from '../../engine/runtime/session.ts';
import { float32Data, int64Tensor } from '../../engine/runtime/tensors.ts';
import { type EncoderBatch, padBatch, runInBatches } from './encoder-batch.ts';
import { createInputEncoder } from './encoder-input.ts';
import type { EncoderSession } from './encoder-session.ts';
import type { OnnxModelFiles } from './onnx-model-files.ts';

/** One output of the file, and how a batch of it becomes rows. */
export interface OnnxOutput {
  /** Names to look for, the best first; a lone output is taken whatever its name, unless that is `logits`. */
  readonly names: readonly string[];
  /** Ranks that `toRows` understands. */
  readonly ranks: readonly number[];
  /** `data` of shape [rows, width] or [rows, tokens, width] -> [rows, width]. */
  toRows(data: Float32Array, dims: readonly number[], batch: EncoderBatch): Float32Array;
}

/** What a batch can give for each input name that exports use. */
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
  // Logits scaled to length 1 would pass for an embedding.
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
 * Opens an ONNX file as it is, and runs it once to learn its width.
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
