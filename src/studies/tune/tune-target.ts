import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removePartialFiles } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { createAdamWState } from '../../engine/optimizer/adamw.ts';
import { initialiseParameters, type ParameterVector, parameterView } from '../../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { loadLatestCheckpoint } from '../../learning/checkpoints/checkpoint-folder.ts';
import { loadParameters, saveTrainerState } from '../../learning/checkpoints/trainer-state.ts';
import {
  type AnswerExample,
  type AnswerUpdate,
  createValidationWatch,
  trainAnswers,
  updatesOfEpochs,
  type ValidationWatch,
} from '../../learning/loops/answer-likelihood.ts';
import type { LoopControl } from '../../learning/loops/update-loop.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { adapterOfParameters, type LoraAdapter } from '../../models/decoder/merge-lora.ts';
import { openPolicySession, type PolicySession } from '../../models/decoder/policy-session.ts';
import { writeMergedModel } from '../../models/export/model-folder.ts';
import { writePeftAdapter } from '../../models/export/peft-adapter.ts';
import { sha256OfFile } from '../../models/sources/file-hash.ts';
import type { TuningConfig } from '../../stages/config/tuning-section.ts';

/** The part of the config that training reads. */
export type TuneSettings = Pick<
  TuningConfig,
  | 'lora'
  | 'epochs'
  | 'batchSize'
  | 'learningRate'
  | 'warmupUpdates'
  | 'weightDecay'
  | 'gradientClip'
  | 'validateEveryUpdates'
  | 'patience'
  | 'maxTokensPerPass'
>;

export interface TuneTargetOptions {
  readonly checkpoint: DecoderCheckpoint;
  /** Folder or GGUF file that the checkpoint was opened from, whose config.json is taken over; none for one made in-process. */
  readonly source?: string;
  /** `adapter/`, `model/` and, while it trains, `checkpoints/` are made in it. */
  readonly folder: string;
  readonly data: { readonly training: readonly AnswerExample[]; readonly validation: readonly AnswerExample[] };
  readonly settings: TuneSettings;
  /** The adapter to start from, whose rank, alpha and targets then hold; a new one when absent. */
  readonly start?: LoraAdapter;
  readonly seed: number;
  readonly compute: ComputeOptions;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
}

/** Figures of the training. Losses are nats an answer token. */
export interface TuneRecord {
  readonly trainingExamples: number;
  readonly validationExamples: number;
  readonly updates: number;
  readonly plannedUpdates: number;
  readonly batchSize: number;
  /** Updates after which the parameters were kept; 0 = the target stayed as it was; all of them without validation. */
  readonly keptUpdates: number;
  readonly validationLossBefore: number | null;
  readonly validationLossKept: number | null;
  readonly stoppedEarly: boolean;
  readonly curve: readonly AnswerUpdate[];
}

export interface TunedTarget {
  /** Folder of the merged model: config.json and model.safetensors. */
  readonly modelPath: string;
  /** Folder of the PEFT adapter. */
  readonly adapterPath: string;
  readonly record: TuneRecord;
  /** The tuned model, ready to be a target; its weights are in `modelPath`. */
  readonly checkpoint: DecoderCheckpoint;
}

const STAGE = 'tune';
/** Checkpoints hold the optimizer too; a kill costs at most so many updates. */
const CHECKPOINT_EVERY_UPDATES = 20;
/** Longest context that a graph is built for; prompts and answers of tuning are short. */
const MAX_CONTEXT = 2048;

/** The loop's own state as a checkpoint holds it. */
interface Progressed {
  readonly watch: ValidationWatch;
  readonly curve: AnswerUpdate[];
}

function contextOf({ checkpoint, data }: TuneTargetOptions): number {
  const { maxPositions } = checkpoint.config;
  const longest = [...data.training, ...data.validation].reduce(
    (most, { prompt, answer }) => Math.max(most, prompt.length + answer.length),
    0,
  );
  if (longest > maxPositions) {
    throw new FloodgateError(
      'model',
      `tune ${checkpoint.spec}: an example has ${longest} tokens, expected at most ${maxPositions}`,
    );
  }
  return Math.max(longest, Math.min(maxPositions, MAX_CONTEXT));
}

function openTuningSession(options: TuneTargetOptions): Promise<PolicySession> {
  const { checkpoint, settings, start, compute } = options;
  const { config, weights } = checkpoint;
  return openPolicySession(
    {
      config,
      weights,
      trainable: { kind: 'lora', spec: start?.spec ?? settings.lora },
      bans: { always: [], end: [] },
      contextTokens: contextOf(options),
      logZ: 'none',
    },
    compute,
  );
}

function startParameters(parameters: ParameterVector, { start, seed }: TuneTargetOptions): void {
  if (start === undefined) initialiseParameters(parameters, seed);
  for (const [name, { data }] of start?.tensors ?? []) parameterView(parameters, name).set(data);
}

/** The optimizer state of the best parameters, from which no training resumes. */
const NO_MOMENTS = { firstMoment: new Float32Array(0), secondMoment: new Float32Array(0), step: 0 };

/** Trains in `session` from its newest checkpoint, and leaves the kept parameters in it. */
async function train(session: PolicySession, options: TuneTargetOptions, checkpoints: string): Promise<TuneRecord> {
  const { data, settings, seed, progress, signal } = options;
  const { parameters } = session;
  const batchSize = Math.min(settings.batchSize, data.training.length);
  const plannedUpdates = updatesOfEpochs(data.training.length, { batchSize, epochs: settings.epochs });
  startParameters(parameters, options);
  const found = await loadLatestCheckpoint({ folder: checkpoints, stage: STAGE }, parameters);
  const progressed = found?.state.extra as Progressed | undefined;
  const { watch, curve } = progressed ?? { watch: createValidationWatch(), curve: [] };
  const best = join(checkpoints, 'tune-best.safetensors');
  const keepBest = (update: number) => saveTrainerState(best, parameters, { update, optimizer: NO_MOMENTS, extra: {} });
  const { learningRate: peak, warmupUpdates } = settings;
  const learningRate = { peak, warmupUpdates, decay: 'constant', totalUpdates: plannedUpdates } as const;
  const control: LoopControl = {
    checkpoints: { folder: checkpoints, stage: STAGE },
    checkpointEveryUpdates: CHECKPOINT_EVERY_UPDATES,
    progress,
    ...(signal === undefined ? {} : { signal }),
  };
  const updates = await trainAnswers(
    { policy: session, ...data, watch, curve, keepBest },
    { ...settings, batchSize, seed, learningRate },
    {
      control,
      from: found?.state.update ?? 0,
      optimizer: found?.state.optimizer ?? createAdamWState(parameters.data.length),
      onUpdate: async () => false,
    },
  );
  if (watch.bestLoss !== null) await loadParameters(best, parameters);
  return {
    trainingExamples: data.training.length,
    validationExamples: data.validation.length,
    updates,
    plannedUpdates,
    batchSize,
    keptUpdates: watch.bestLoss === null ? updates : watch.bestUpdates,
    validationLossBefore: watch.initialLoss,
    validationLossKept: watch.bestLoss,
    stoppedEarly: updates < plannedUpdates,
    curve,
  };
}

/**
 * Fine-tunes a decoder on answers with LoRA and writes `adapter/` (PEFT) and `model/` (merged, fp32) into `folder`. The
 * parameters kept are those with the lowest validation loss, the untouched model among them. An interrupted tuning
 * resumes from its newest checkpoint. Tokenizer files are the caller's to add (`writeTokenizerFiles`): a model made
 * in-process has none.
 * @throws FloodgateError `run` without training examples; `model` when an example or `start` does not fit the model;
 * `interrupted` on abort, after saving.
 */
export async function tuneTarget(options: TuneTargetOptions): Promise<TunedTarget> {
  const { checkpoint, folder, data, settings, start, source } = options;
  if (data.training.length === 0) {
    throw new FloodgateError('run', `tune ${checkpoint.spec}: there is nothing to learn, got no training examples`);
  }
  const checkpoints = join(folder, 'checkpoints');
  const modelPath = join(folder, 'model');
  const adapterPath = join(folder, 'adapter');
  const session = await openTuningSession(options);
  let record: TuneRecord;
  let adapter: LoraAdapter;
  try {
    record = await train(session, options, checkpoints);
    adapter = adapterOfParameters(checkpoint.config, start?.spec ?? settings.lora, session.parameters);
  } finally {
    await session.close();
  }
  const { config, spec, sha256 } = checkpoint;
  await writePeftAdapter({ folder: adapterPath, config, adapter, base: { spec, sha256 } });
  const weights = await writeMergedModel({
    folder: modelPath,
    checkpoint,
    adapter,
    ...(source === undefined ? {} : { source }),
  });
  for (const place of [adapterPath, modelPath]) await removePartialFiles(place);
  await rm(checkpoints, { recursive: true, force: true });
  const tuned = { ...checkpoint, spec: modelPath, sha256: await sha256OfFile(weights.path), weights };
  return { modelPath, adapterPath, record, checkpoint: tuned };
}
