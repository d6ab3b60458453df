import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { defaultThreads } from '../../engine/runtime/device.ts';
import type { Judge } from '../../judges/judge.ts';
import { type NamedJudge, refuseSharedNames } from '../../judges/judge-names.ts';
import { openJudge } from '../../judges/registry.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { openMergedWeights } from '../../models/export/model-folder.ts';
import { createOpenModels, type OpenedEncoder, type OpenModels } from '../../models/open-models.ts';
import { resolveModel } from '../../models/sources/resolve-model.ts';
import type { TargetHost } from '../../targets/target-kind.ts';
import { picoCheckpoint } from '../../worlds/pico-target.ts';
import { createRequestEncoder } from '../../worlds/request-encoder.ts';
import { requireWorld } from '../../worlds/world.ts';
import { WORLD } from '../../worlds/world-preset.ts';
import { type KnownWorld, madeWorld } from '../../worlds/world-registry.ts';
import type { Config, JudgeConfig } from '../config/config.ts';
import type { CampaignIo } from '../stage.ts';
import { openRunWorld } from './run-world.ts';

/** The folder of a world's tuned model: weights without a tokenizer, which every model of a world shares. */
function isWorldFolder(spec: string): boolean {
  return existsSync(join(spec, WEIGHTS)) && !existsSync(join(spec, 'tokenizer.json'));
}

const WEIGHTS = 'model.safetensors';

/** The models of a run's target and judges. */
export interface AskedModels extends Pick<RunModels, 'threads' | 'host' | 'openDecoder' | 'openJudge'> {
  readonly models: OpenModels;
}

/** The models of one run: those on this machine, or those of the run's synthetic world. */
export interface RunModels {
  readonly config: Config;
  readonly world: KnownWorld | undefined;
  readonly threads: number;
  /** Opens targets. */
  readonly host: TargetHost;
  /**
   * The language model of a spec, the same object for the same spec and role; the world's own where the spec names it.
   * @throws FloodgateError `source`, `config`, `format` as the model requires.
   */
  openDecoder(spec: string, role: 'attacker' | 'target'): Promise<DecoderCheckpoint>;
  /** One of the run's judges. Close it when done. */
  openJudge(config: JudgeConfig): Promise<Judge>;
  /**
   * Every judge of the run, the training judge first, each name once. Close them when done. `watch` wraps each of them.
   * @throws FloodgateError `config` when two judges with different settings have one name.
   */
  openJudges(watch?: (judge: Judge, config: JudgeConfig) => Judge): Promise<Judge[]>;
  /** The run's sentence encoder and how a manifest names it. Close it when done. */
  openEncoder(): Promise<OpenedEncoder>;
}

async function openDecoder(
  models: OpenModels,
  spec: string,
  role: 'attacker' | 'target',
  world: KnownWorld | undefined,
): Promise<DecoderCheckpoint> {
  const made = madeWorld(world);
  if (spec === WORLD) return requireWorld(made, `${role}.model`)[role];
  if (made !== undefined && isWorldFolder(spec)) {
    const { config } = made[role];
    const checkpoint = await picoCheckpoint(join(spec, WEIGHTS), spec, config);
    return { ...checkpoint, weights: await openMergedWeights(spec, config) };
  }
  return models.openDecoder(spec, role);
}

/** Attacker and target of one spec share a checkpoint; a world's two models do not. */
function createDecoderCache(
  models: OpenModels,
  world: KnownWorld | undefined,
  attacker: Config['attacker'] | undefined,
): RunModels['openDecoder'] {
  const opened = new Map<string, Promise<DecoderCheckpoint>>();
  const open: RunModels['openDecoder'] = async (spec, role) => {
    const checkpoint = await openDecoder(models, spec, role, world);
    const isAdapted = attacker?.method === 'lora' && attacker.model === spec && world === undefined;
    return isAdapted ? { ...checkpoint, adapted: attacker.lora.targets } : checkpoint;
  };
  return (spec, role) => {
    const key = world === undefined ? spec : `${role} ${spec}`;
    const found = opened.get(key) ?? open(spec, role);
    opened.set(key, found);
    found.catch(() => opened.delete(key));
    return found;
  };
}

/**
 * Opens judges, each name once. Close them when done. @throws FloodgateError `config` when two with different settings
 * have one name.
 */
export async function openEach(configs: readonly JudgeConfig[], open: RunModels['openJudge']): Promise<Judge[]> {
  const judges = new Map<string, Judge>();
  const named: NamedJudge[] = [];
  try {
    for (const config of configs) {
      const judge = await open(config);
      named.push({ name: judge.name, config });
      if (judges.has(judge.name)) await judge.close();
      else judges.set(judge.name, judge);
    }
    refuseSharedNames(named);
    return [...judges.values()];
  } catch (error) {
    for (const judge of judges.values()) await judge.close();
    throw error;
  }
}

/** Whether a run's language models keep a repacked copy of their weights for decoding. */
export function repacks({ memory = 'fast' }: Partial<Pick<Config, 'memory'>>): boolean {
  return memory === 'fast';
}

/** Opens the models that target and judges need, each on request. */
export function openAskedModels(
  config: Pick<Config, 'seed' | 'threads'> & Partial<Pick<Config, 'attacker' | 'memory'>>,
  io: CampaignIo,
  world: KnownWorld | undefined,
): AskedModels {
  const threads = config.threads ?? defaultThreads();
  const models = createOpenModels({ threads, ...io });
  const open = createDecoderCache(models, world, config.attacker);
  const sourceOptions = io.cacheDir === undefined ? {} : { cacheDir: io.cacheDir };
  return {
    models,
    threads,
    host: {
      openDecoder: (spec) => open(spec, 'target'),
      sourceOf: async (spec) => (spec === WORLD ? undefined : (await resolveModel(spec, sourceOptions)).path),
      seed: config.seed,
      threads,
      prepack: repacks(config),
      ...io,
      world,
    },
    openDecoder: open,
    openJudge: (judge) => openJudge(judge, { models: models.judges, world }),
  };
}

/** The encoder of a config's section, and how a manifest names it. Close it when done. */
export async function openConfigEncoder(
  models: OpenModels,
  { model, device }: Config['encoder'],
): Promise<OpenedEncoder> {
  if (model !== WORLD) return models.openEncoder(model, device);
  return { encoder: createRequestEncoder(), entry: { spec: 'world/request-encoder', sha256: 'built in' } };
}

/** Opens the models of a config, each on request. */
export function openRunModels(config: Config, io: CampaignIo, world: KnownWorld | undefined): RunModels {
  const { models, ...asked } = openAskedModels(config, io, world);
  const { judges, encoder } = config;
  return {
    ...asked,
    config,
    world,
    openJudges: (watch = (judge) => judge) =>
      openEach([judges.training, ...judges.evaluation], async (judge) => watch(await asked.openJudge(judge), judge)),
    openEncoder: () => openConfigEncoder(models, encoder),
  };
}

/** `openRunModels` in the config's world, built when it is new. @throws FloodgateError `world` for a refused one. */
export async function openConfigModels(config: Config, io: CampaignIo): Promise<RunModels> {
  return openRunModels(config, io, await openRunWorld(config, io));
}
