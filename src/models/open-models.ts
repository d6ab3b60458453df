import { FloodgateError } from '../base/errors.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { Device } from '../engine/runtime/device.ts';
import { type Checkpoint, type DecoderCheckpoint, openCheckpoint } from './checkpoint/checkpoint.ts';
import { openLabelScorer } from './decoder/label-scorer.ts';
import { openOnnxClassifier, openOnnxEncoder } from './encoder/open-onnx.ts';
import { openTextClassifier } from './encoder/text-classifier.ts';
import { openTextEncoder, type SentenceEncoder } from './encoder/text-encoder.ts';
import { identityOf, identityOfCheckpoint, type ModelIdentity } from './model-identity.ts';
import type { Precision } from './quantised/int8-weights.ts';
import { type ResolvedModel, resolveModel } from './sources/resolve-model.ts';
import { type SourceOptions, settleSourceOptions } from './sources/source-environment.ts';

export interface OpenModelsOptions {
  /** Folder of the model cache; default as `floodgate models path` has it. */
  readonly cacheDir?: string;
  /** Threads of each session. */
  readonly threads: number;
  readonly progress?: ProgressSink;
}

/** Purpose for which a decoder is opened, as messages name it. */
export type DecoderRole = 'attacker' | 'target' | 'guard judge' | 'language model';

/** A sentence encoder, and how a manifest names it. */
export interface OpenedEncoder {
  readonly encoder: SentenceEncoder;
  readonly entry: ModelIdentity;
}

/** Opens models by spec, on this machine only. Each is checked to be of the requested kind. */
export interface OpenModels {
  /**
   * Opens the language model of `spec`.
   * @throws FloodgateError `source` when it is not on this machine, with the command that pulls it; `config` when it is
   * not a language model; `format` when its files are damaged.
   */
  openDecoder(spec: string, role?: DecoderRole): Promise<DecoderCheckpoint>;
  /** Opens the sentence encoder of `spec`; close it when done. @throws as `openDecoder`. */
  openEncoder(spec: string, device: Device): Promise<OpenedEncoder>;
  readonly judges: JudgeModels;
}

function sourceOptions({ cacheDir, progress }: OpenModelsOptions): SourceOptions {
  return { ...(cacheDir === undefined ? {} : { cacheDir }), ...(progress === undefined ? {} : { progress }) };
}

const DAMAGED_HINT =
  'the files are damaged or do not belong together: copy or pull the model again (floodgate models verify checks the cache)';

async function openResolved({ path, spec }: ResolvedModel, options: OpenModelsOptions): Promise<Checkpoint> {
  const { cacheDir, progress } = settleSourceOptions(sourceOptions(options));
  try {
    return await openCheckpoint(path, { cacheDir, spec, progress });
  } catch (error) {
    throw aboutModel(error, spec);
  }
}

/** Adds the model's name and a remedy to an error in its files, where the failing part knows neither. */
function aboutModel(error: unknown, spec: string): unknown {
  if (!(error instanceof FloodgateError) || (error.code !== 'format' && error.code !== 'model')) return error;
  const message = error.message.includes(spec) ? error.message : `open ${spec}: ${error.message}`;
  return new FloodgateError(error.code, message, { cause: error, hint: error.hint ?? DAMAGED_HINT });
}

function describeKind(checkpoint: Checkpoint): string {
  const { kind, config } = checkpoint;
  if (kind === 'decoder') return `a language model (${config.family})`;
  return config.labels.length > 0
    ? `a classifier of ${config.labels.slice(0, 6).join(', ')}`
    : `a sentence encoder (${config.family})`;
}

function wrongKind(spec: string, role: string, got: string, expected: string): FloodgateError {
  return new FloodgateError('config', `open ${spec} as ${role}: it is ${got}, expected ${expected}`, {
    hint: 'floodgate models list shows what each named model is',
  });
}

async function openDecoder(spec: string, role: DecoderRole, options: OpenModelsOptions): Promise<DecoderCheckpoint> {
  const resolved = await resolveModel(spec, sourceOptions(options));
  const expected = 'a language model in safetensors or GGUF';
  if (resolved.onnxFile !== undefined) throw wrongKind(spec, role, 'an ONNX file', expected);
  const checkpoint = await openResolved(resolved, options);
  if (checkpoint.kind !== 'decoder') throw wrongKind(spec, role, describeKind(checkpoint), expected);
  const { filesSha256 } = await identityOf(resolved, checkpoint.sha256);
  return { ...checkpoint, ...(filesSha256 === undefined ? {} : { filesSha256 }) };
}

/** sha256 of the model's ONNX file, as its source recorded it. */
function sha256OfOnnx({ files, spec }: ResolvedModel): string {
  const file = files.find(({ name }) => name.endsWith('.onnx'));
  if (file === undefined) throw new FloodgateError('source', `open ${spec}: its ONNX file was not recorded`);
  return file.sha256;
}

async function openEncoder(spec: string, device: Device, options: OpenModelsOptions): Promise<OpenedEncoder> {
  const runtime = { device, threads: options.threads };
  const resolved = await resolveModel(spec, sourceOptions(options));
  if (resolved.onnxFile !== undefined) {
    const entry = await identityOf(resolved, sha256OfOnnx(resolved));
    return { encoder: await openOnnxEncoder(resolved.onnxFile, { runtime }), entry };
  }
  const checkpoint = await openResolved(resolved, options);
  if (checkpoint.kind !== 'encoder' || checkpoint.config.labels.length > 0) {
    throw wrongKind(spec, 'encoder', describeKind(checkpoint), 'a sentence encoder');
  }
  const entry = await identityOf(resolved, checkpoint.sha256);
  return { encoder: await openTextEncoder(checkpoint, { runtime }), entry };
}

/** On another device its products would run on the CPU all the same, between copies of their inputs. */
function assertInt8OnCpu({
  model,
  device,
  precision,
}: Pick<TextClassifierSpec, 'model' | 'device' | 'precision'>): void {
  if (precision !== 'int8' || device === 'cpu') return;
  throw new FloodgateError('config', `open ${model} in int8: it is for the CPU, got ${device}`, {
    hint: 'leave precision out, or set device: cpu',
  });
}

function ownPrecision(model: string): FloodgateError {
  return new FloodgateError('config', `open ${model} in int8: it is an ONNX file, expected safetensors`, {
    hint: 'an ONNX file computes as it is: leave precision out, or name a model with safetensors',
  });
}

async function openClassifier(spec: TextClassifierSpec, options: OpenModelsOptions): Promise<TextClassifier> {
  const { model, activation, labels, device, precision } = spec;
  assertInt8OnCpu(spec);
  const runtime = { device, threads: options.threads };
  const resolved = await resolveModel(model, sourceOptions(options));
  if (resolved.onnxFile !== undefined) {
    if (precision === 'int8') throw ownPrecision(model);
    const identity = await identityOf(resolved, sha256OfOnnx(resolved));
    const named = labels === undefined ? {} : { labels };
    return { ...(await openOnnxClassifier(resolved.onnxFile, { runtime, activation, ...named })), identity };
  }
  const checkpoint = await openResolved(resolved, options);
  if (checkpoint.kind !== 'encoder' || checkpoint.config.labels.length === 0) {
    throw wrongKind(model, 'classifier judge', describeKind(checkpoint), 'a text classifier');
  }
  const identity = await identityOf(resolved, checkpoint.sha256);
  return {
    ...(await openTextClassifier(checkpoint, {
      runtime: { ...runtime, precision, progress: options.progress },
      activation,
    })),
    identity,
  };
}

/** Returns an `OpenModels` for a campaign: all models share the threads and the cache. Opens nothing yet. */
export function createOpenModels(options: OpenModelsOptions): OpenModels {
  return {
    openDecoder: (spec, role = 'language model') => openDecoder(spec, role, options),
    openEncoder: (spec, device) => openEncoder(spec, device, options),
    judges: {
      openTextClassifier: (spec) => openClassifier(spec, options),
      async openLabelScorer({ model, device, precision }): Promise<LabelScorer> {
        assertInt8OnCpu({ model, device, precision });
        const checkpoint = await openDecoder(model, 'guard judge', options);
        const scorer = await openLabelScorer(checkpoint, {
          device,
          precision,
          threads: options.threads,
          progress: options.progress,
        });
        return {
          scoreLabels: (prompts, labels) => scorer.scoreLabels(prompts, labels),
          close: () => scorer.close(),
          identity: identityOfCheckpoint(checkpoint),
        };
      },
    },
  };
}

/** The part of a model that the classifier judge uses. Its opener supplies it; judges/ loads no weights. */
export interface TextClassifier {
  /** Names of the outputs, in order. */
  readonly labels: readonly string[];
  /** The model, for manifests; absent where no file is behind it. */
  readonly identity?: ModelIdentity;
  /**
   * Returns one row of probabilities for each pair: [pairs][labels]. The activation was chosen at opening. Cuts text
   * beyond the model's window, the end first.
   */
  classify(pairs: readonly ClassifierInput[]): Promise<Float32Array[]>;
  close(): Promise<void>;
}

export interface ClassifierInput {
  readonly text: string;
  readonly textPair?: string;
}

/** The classifier to open. */
export interface TextClassifierSpec {
  readonly model: string;
  readonly activation: 'sigmoid' | 'softmax';
  /** Names of the outputs where the model's own files give none. */
  readonly labels: readonly string[] | undefined;
  readonly device: Device;
  /** Form of the weights; fp32 when absent. An ONNX file has its own. */
  readonly precision?: Precision | undefined;
}

/** The part of a language model that the guard judge uses. */
export interface LabelScorer {
  /** The model, for manifests; absent where no file is behind it. */
  readonly identity?: ModelIdentity;
  /**
   * Log-probability in nats of each label as the continuation of each prompt: [prompts][labels]. It sums over the
   * label's tokens. Prompts are complete: special tokens in their text are parsed, and no chat template is applied. A
   * BOS is added only where the tokenizer adds one by itself.
   */
  scoreLabels(prompts: readonly string[], labels: readonly string[]): Promise<Float64Array[]>;
  close(): Promise<void>;
}

export interface LabelScorerSpec {
  readonly model: string;
  readonly device: Device;
  /** Form of the weights; fp32 when absent. */
  readonly precision?: Precision | undefined;
}

/** Opens the models of judges. */
export interface JudgeModels {
  openTextClassifier(spec: TextClassifierSpec): Promise<TextClassifier>;
  openLabelScorer(spec: LabelScorerSpec): Promise<LabelScorer>;
}
