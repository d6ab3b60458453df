import { join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { type ComputeOptions, defaultThreads } from '../../engine/runtime/device.ts';
import { type DecoderCheckpoint, truncateLayers } from '../../models/checkpoint/checkpoint.ts';
import { openInt8Weights } from '../../models/decoder/int8-weights.ts';
import type { OpenModels } from '../../models/open-models.ts';
import { settleSourceOptions } from '../../models/sources/source-environment.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { openRunDecoder } from '../../stages/campaign/open-run-models.ts';
import type { Config } from '../../stages/config/config-schema.ts';
import { createAttackEncoder } from '../../targets/local-prompt.ts';
import { openLocalTarget } from '../../targets/local-target.ts';
import { measureInt8 } from '../../targets/measure-int8.ts';
import { createScriptedTarget } from '../../targets/scripted-target.ts';
import type { DecodeSettings, Target } from '../../targets/target.ts';
import type { TargetRecipe } from '../../worlds/train-target.ts';
import { openTransferTarget, transferConfig, transferKeys, transferTargetName } from '../../worlds/transfer-target.ts';
import type { World } from '../../worlds/world.ts';
import { openWorldOutcomes, type WorldOutcomes } from '../../worlds/pico-target.ts';
import type { TargetRecord } from './target-record.ts';
import type { LocalTransferTarget, NamedTarget } from './transfer-config.ts';

/** A transfer target with its sessions open. */
export interface OpenedTransferTarget {
  readonly record: TargetRecord;
  readonly target: Target;
  /** P(success) of attacks, read off the model; undefined where the truth is not known. */
  readonly outcomes: WorldOutcomes | undefined;
  close(): Promise<void>;
}

/** A transfer target that was found fit to be asked; no session is open yet. */
export interface PlannedTarget {
  readonly record: TargetRecord;
  /** `texts`: attacks on which an int8 model is compared with itself in fp32. */
  open(texts: readonly string[]): Promise<OpenedTransferTarget>;
}

export interface PlanTargetsParts {
  readonly folder: RunFolder;
  readonly config: Config;
  readonly models: OpenModels;
  readonly world: World | undefined;
  readonly io: CampaignIo;
  /** How a world's further targets are taught; default: as its own is. */
  readonly recipe?: TargetRecipe;
}

/** How transfer is measured where nothing else is asked for: method.md's near-greedy decoding. */
const TRANSFER_DECODE: DecodeSettings = { temperature: 0.1, topP: 0.9, topK: 0, maxNewTokens: 64 };
const TRANSFER_RESPONSES = 5;

/** A world's targets are asked as its own is: their answers are one word, and their truth is known at temperature 1. */
function decodingOf({ config, world }: PlanTargetsParts, named: NamedTarget) {
  const base = world === undefined ? TRANSFER_DECODE : config.target.decode;
  const responses = world === undefined ? TRANSFER_RESPONSES : config.evaluation.responses;
  const given = Object.entries(named.decode ?? {}).filter(([, value]) => value !== undefined);
  return {
    decode: { ...base, ...Object.fromEntries(given) } as DecodeSettings,
    responses: named.responses ?? responses,
  };
}

const BARE = {
  sha256: null,
  family: null,
  layers: null,
  ofLayers: null,
  precision: 'fp32',
  template: null,
  systemPrompt: null,
  shared: null,
  divergence: null,
  warnings: [],
} as const;

function planScripted(
  parts: PlanTargetsParts,
  named: NamedTarget,
  script: {
    readonly rules: Parameters<typeof createScriptedTarget>[0]['rules'];
    readonly otherwise: readonly string[];
  },
): PlannedTarget {
  const target = createScriptedTarget({ ...script, seed: parts.config.seed });
  const record: TargetRecord = {
    ...BARE,
    name: named.name,
    kind: 'scripted',
    model: 'scripted',
    ...decodingOf(parts, named),
  };
  return { record, open: async () => ({ record, target, outcomes: undefined, close: () => target.close() }) };
}

/** Sampling as the model itself has it: only then are probabilities read off it those of its answers. */
function isAsTrained({ decode, systemPrompt, precision }: TargetRecord): boolean {
  return (
    decode.temperature === 1 && decode.topP === 1 && decode.topK === 0 && systemPrompt === null && precision === 'fp32'
  );
}

async function openOutcomes(
  checkpoint: DecoderCheckpoint,
  record: TargetRecord,
  world: World | undefined,
  compute: ComputeOptions,
): Promise<WorldOutcomes | undefined> {
  if (world === undefined || checkpoint.tokenizer !== world.target.tokenizer || !isAsTrained(record)) return undefined;
  return openWorldOutcomes(checkpoint, { noise: world.spec.noise, responses: record.responses }, compute);
}

function planWorld(parts: PlanTargetsParts, named: NamedTarget & { readonly kind: 'world' }): PlannedTarget {
  const { world, config, io } = parts;
  if (world === undefined) {
    throw new FloodgateError('usage', `transfer target ${named.name}: got kind: world, but the run is in no world`, {
      hint: 'name a model of this machine, or transfer a run that was made in a world (floodgate demo)',
    });
  }
  const shape = transferConfig(named.family, named.size);
  const { keys, kept } = transferKeys(world, named);
  const compute: ComputeOptions = { device: 'cpu', threads: config.threads ?? defaultThreads() };
  const planned: TargetRecord = {
    ...BARE,
    name: named.name,
    kind: 'world',
    model: transferTargetName(world, named),
    family: named.family,
    layers: shape.layers,
    ofLayers: shape.layers,
    template: 'chat',
    shared: { keys: keys.length, kept: kept.length, seed: named.seed },
    ...decodingOf(parts, named),
  };
  const { cacheDir } = settleSourceOptions(io.cacheDir === undefined ? {} : { cacheDir: io.cacheDir });
  return {
    record: planned,
    open: async () => {
      const { progress, signal } = io;
      const taught = parts.recipe === undefined ? {} : { recipe: parts.recipe };
      const checkpoint = await openTransferTarget(world, named, { cacheDir, compute, progress, signal, ...taught });
      const record = { ...planned, sha256: checkpoint.sha256 };
      const target = await openLocalTarget({ checkpoint, template: 'chat', seed: config.seed, compute });
      const outcomes = await openOutcomes(checkpoint, record, world, compute);
      return { record, target, outcomes, close: () => closeBoth(target, outcomes) };
    },
  };
}

async function closeBoth(target: Target, outcomes: WorldOutcomes | undefined): Promise<void> {
  await outcomes?.close();
  await target.close();
}

/** The model's own template where it has one, and a word about it where it has none. */
function templateOf(checkpoint: DecoderCheckpoint, asked: 'chat' | 'plain' | undefined) {
  if (asked !== undefined) return { template: asked, warnings: [] };
  if (checkpoint.chatTemplate !== undefined) return { template: 'chat' as const, warnings: [] };
  return { template: 'plain' as const, warnings: ['it has no chat template: attacks are put to it as plain text'] };
}

function modelOf({ folder, config }: PlanTargetsParts, named: LocalTransferTarget): string | undefined {
  if (named.model?.startsWith('tuned:')) return join(folder.path, 'tuned', named.model.slice('tuned:'.length), 'model');
  return named.model ?? (config.target.kind === 'local' ? config.target.model : undefined);
}

/** @throws FloodgateError `usage` when a run's script is asked for in another form. */
function planOwnScript(parts: PlanTargetsParts, named: NamedTarget & { readonly kind: 'local' }): PlannedTarget {
  const own = parts.config.target;
  const isPlain = named.layers === undefined && named.precision === 'fp32' && named.systemPrompt === undefined;
  if (own.kind === 'scripted' && isPlain) return planScripted(parts, named, own);
  throw new FloodgateError(
    'usage',
    `transfer target ${named.name}: got layers, precision or systemPrompt for the run's own target, which is a script`,
    { hint: 'name a model' },
  );
}

async function planLocal(
  parts: PlanTargetsParts,
  named: NamedTarget & { readonly kind: 'local' },
): Promise<PlannedTarget> {
  const { config, models, world } = parts;
  const own = config.target;
  const spec = modelOf(parts, named);
  if (spec === undefined) return planOwnScript(parts, named);
  const isOwn = named.model === undefined && own.kind === 'local';
  const whole = await openRunDecoder(models, spec, 'target', world);
  const checkpoint = named.layers === undefined ? whole : truncateLayers(whole, named.layers);
  const { template, warnings } = templateOf(checkpoint, named.template ?? (isOwn ? own.template : undefined));
  const systemPrompt = named.systemPrompt ?? (isOwn ? own.systemPrompt : undefined);
  const prompt = { checkpoint, template, ...(systemPrompt === undefined ? {} : { systemPrompt }) };
  const encode = createAttackEncoder(prompt);
  encode('hello'); // a template that cannot hold this chat says so now
  const planned: TargetRecord = {
    ...BARE,
    name: named.name,
    kind: 'local',
    model: spec,
    sha256: whole.sha256,
    family: whole.config.family,
    layers: checkpoint.config.layers,
    ofLayers: whole.config.layers,
    precision: named.precision,
    template,
    systemPrompt: systemPrompt ?? null,
    ...decodingOf(parts, named),
    warnings,
  };
  const compute: ComputeOptions = { device: named.device, threads: config.threads ?? defaultThreads() };
  const open = async (texts: readonly string[]): Promise<OpenedTransferTarget> => {
    // Quantised once, with every layer: a shortened model reads the beginning of the same file.
    const int8 =
      named.precision === 'int8'
        ? ({ store: await openInt8Weights(whole.config, whole.weights), activation: 'per-tensor' } as const)
        : undefined;
    const divergence = int8 === undefined ? null : await measureInt8(checkpoint, int8, texts.map(encode), compute);
    const record = { ...planned, divergence };
    const target = await openLocalTarget({
      ...prompt,
      seed: config.seed,
      compute,
      ...(int8 === undefined ? {} : { int8 }),
    });
    const outcomes = await openOutcomes(checkpoint, record, world, compute);
    return { record, target, outcomes, close: () => closeBoth(target, outcomes) };
  };
  return { record: planned, open };
}

/**
 * Finds every target and checks that it can be asked, before any work.
 * @throws FloodgateError `source` for a model that is not on this machine; `model` for more layers than it has; `target`
 * for a chat asked of a model without a template; `usage` for a world's target outside a world.
 */
export async function planTargets(parts: PlanTargetsParts, targets: readonly NamedTarget[]): Promise<PlannedTarget[]> {
  const planned: PlannedTarget[] = [];
  for (const named of targets) {
    switch (named.kind) {
      case 'scripted':
        planned.push(planScripted(parts, named, named));
        break;
      case 'world':
        planned.push(planWorld(parts, named));
        break;
      case 'local':
        planned.push(await planLocal(parts, named));
        break;
    }
  }
  return planned;
}
