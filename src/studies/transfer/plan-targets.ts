import { isAbsolute, join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { RunModels } from '../../stages/campaign/run-models.ts';
import type { StudyModels } from '../../stages/campaign/study-models.ts';
import { assertAnswersFit } from '../../targets/local-target.ts';
import { mapTargetModels, planTarget, varyTarget } from '../../targets/registry.ts';
import type { DecodeSettings, Target } from '../../targets/target.ts';
import type { PlannedTarget, TargetConfig } from '../../targets/target-kind.ts';
import { openWorldOutcomes, type WorldOutcomes } from '../../worlds/pico-target.ts';
import { madeWorld } from '../../worlds/world-registry.ts';
import type { TargetRecord } from './target-record.ts';
import type { NamedTarget } from './transfer-config.ts';

/** A transfer target with its sessions open. */
export interface OpenTransferTarget {
  readonly record: TargetRecord;
  readonly target: Target;
  /** P(success) of attacks, read off the model; undefined where the truth is not known. */
  readonly outcomes: WorldOutcomes | undefined;
  close(): Promise<void>;
}

/** A transfer target that was found fit to be asked; no session is open yet. */
export interface PlannedTransferTarget {
  readonly record: TargetRecord;
  /** Decides, beside the weights, how it answers. */
  readonly config: TargetConfig;
  /** It was tuned to refuse attacks. */
  readonly isTuned: boolean;
  /** @param texts attacks on which a coarser precision is compared with fp32. */
  open(texts: readonly string[]): Promise<OpenTransferTarget>;
}

export interface PlanTargetsParts extends Pick<StudyModels, 'models'> {
  readonly folder: RunFolder;
  /** Absent: every target is opened here. */
  readonly planElsewhere?: StudyModels['planElsewhere'];
}

/** How transfer asks where nothing else is said: method.md's near-greedy decoding. */
const TRANSFER_DECODE: DecodeSettings = { temperature: 0.1, topP: 0.9, topK: 0, maxNewTokens: 64 };
const TRANSFER_RESPONSES = 5;

/** A world's targets are asked as its own is: their answers are one word, and their truth is known at temperature 1. */
function decodingOf({ config, world }: RunModels, named: NamedTarget): Pick<TargetRecord, 'decode' | 'responses'> {
  const isMade = madeWorld(world) !== undefined;
  const base = isMade ? config.target.decode : TRANSFER_DECODE;
  const responses = isMade ? config.evaluation.responses : TRANSFER_RESPONSES;
  const given = Object.entries(named.decode ?? {}).filter(([, value]) => value !== undefined);
  return { decode: { ...base, ...Object.fromEntries(given) }, responses: named.responses ?? responses };
}

const TUNED = 'tuned:';

/** `tuned:NAME` is the model that this run's tuning NAME has left. */
function tunedModel({ path }: RunFolder, model: string): string {
  return model.startsWith(TUNED) ? join(path, 'tuned', model.slice(TUNED.length), 'model') : model;
}

/** The config of a target; undefined for the run's own, as it is. */
function configOf({ folder, models }: PlanTargetsParts, named: NamedTarget): TargetConfig | undefined {
  const { name: _name, decode: _decode, responses: _responses, kind, ...keys } = named;
  if (kind === undefined) return undefined;
  const varied = varyTarget({ kind, ...keys }, models.config.target);
  return mapTargetModels(varied, (model) => tunedModel(folder, model));
}

/** Whether no worker can ask the target: its model is a file of this machine, or its truth is read off it here. */
function isHere({ models: { world } }: PlanTargetsParts, { model }: NamedTarget): boolean {
  if (madeWorld(world) !== undefined) return true;
  return typeof model === 'string' && (model.startsWith(TUNED) || isAbsolute(model));
}

interface PlannedConfig {
  readonly planned: PlannedTarget;
  readonly config: TargetConfig;
}

async function planNamed(
  parts: PlanTargetsParts,
  named: NamedTarget,
  { decode }: Pick<TargetRecord, 'decode'>,
): Promise<PlannedConfig> {
  const { config, host } = parts.models;
  try {
    const given = configOf(parts, named);
    // A worker checks that answers of this length fit.
    const plan = async (target: TargetConfig) =>
      (isHere(parts, named) ? undefined : await parts.planElsewhere?.({ ...target, decode })) ??
      planTarget(target, host);
    if (given !== undefined) return { planned: await plan(given), config: given };
    const own = await plan(config.target);
    return { planned: own.evaluatedAs ?? own, config: config.target };
  } catch (cause) {
    if (!(cause instanceof FloodgateError)) throw cause;
    const { code, message, hint } = cause;
    const options = { cause, ...(hint === undefined ? {} : { hint }) };
    throw new FloodgateError(code, `transfer target ${named.name}: ${message}`, options);
  }
}

/** Sampling as the model itself has it: only then are probabilities read off it those of its answers. */
function isAsTrained({ decode, systemPrompt, precision }: TargetRecord): boolean {
  const { temperature, topP, topK } = decode;
  return temperature === 1 && topP === 1 && topK === 0 && systemPrompt === null && precision === 'fp32';
}

/** The truth of a world's model; undefined for any other, and where it is not asked as it was trained. */
async function openOutcomes(
  { world }: RunModels,
  checkpoint: DecoderCheckpoint | undefined,
  record: TargetRecord,
  compute: ComputeOptions,
): Promise<WorldOutcomes | undefined> {
  const made = madeWorld(world);
  const isOfWorld = made !== undefined && checkpoint?.tokenizer === made.target.tokenizer;
  if (checkpoint === undefined || !isOfWorld || !isAsTrained(record)) return undefined;
  return openWorldOutcomes(checkpoint, { noise: made.spec.noise, responses: record.responses }, compute);
}

/** @throws FloodgateError `config` when no attack fits the model before so long an answer. */
function assertColumnFits(name: string, { model }: PlannedTarget, decode: DecodeSettings): void {
  if (model === undefined) return;
  const { checkpoint, template, systemPrompt } = model;
  try {
    assertAnswersFit({ checkpoint, template, ...(systemPrompt === undefined ? {} : { systemPrompt }) }, decode);
  } catch (cause) {
    if (!(cause instanceof FloodgateError)) throw cause;
    throw new FloodgateError(cause.code, `transfer target ${name}: ${cause.message}`, {
      cause,
      hint: 'set decode.maxNewTokens of that target',
    });
  }
}

async function planColumn(
  parts: PlanTargetsParts,
  named: NamedTarget,
  tuned: readonly string[],
): Promise<PlannedTransferTarget> {
  const { models } = parts;
  const { name } = named;
  const asked = decodingOf(models, named);
  const { planned, config } = await planNamed(parts, named, asked);
  assertColumnFits(name, planned, asked.decode);
  const compute = planned.model?.compute ?? ({ device: 'cpu', threads: models.threads } as const);
  const open = async (texts: readonly string[]): Promise<OpenTransferTarget> => {
    const opened = await planned.open(texts);
    const record = { name, ...opened.facts, ...asked };
    try {
      const outcomes = await openOutcomes(models, opened.checkpoint, record, compute);
      const close = async (): Promise<void> => {
        await outcomes?.close();
        await opened.close();
      };
      return { record, target: opened.target, outcomes, close };
    } catch (error) {
      await opened.close();
      throw error;
    }
  };
  const isTuned = tuned.includes(name) || (typeof named.model === 'string' && named.model.startsWith(TUNED));
  return { record: { name, ...planned.facts, ...asked }, config, isTuned, open };
}

/**
 * Finds every target and checks that it can be asked, before any work. @param tuned names of those tuned to refuse.
 * @throws FloodgateError `source` for a model that is not on this machine; `model` for more layers than it has; `target`
 * for a chat asked of a model without a template; `usage` for a target that does not go with the run.
 */
export async function planTargets(
  parts: PlanTargetsParts,
  targets: readonly NamedTarget[],
  tuned: readonly string[] = [],
): Promise<PlannedTransferTarget[]> {
  const planned: PlannedTransferTarget[] = [];
  for (const named of targets) planned.push(await planColumn(parts, named, tuned));
  return planned;
}
