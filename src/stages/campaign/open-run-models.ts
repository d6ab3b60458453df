import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Judge } from '../../judges/judge.ts';
import { openJudge } from '../../judges/open-judge.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { openMergedWeights } from '../../models/export/model-folder.ts';
import type { OpenedEncoder, OpenModels } from '../../models/open-models.ts';
import { createAlarmJudge } from '../../worlds/alarm-judge.ts';
import { picoCheckpoint } from '../../worlds/pico-target.ts';
import { createRequestEncoder } from '../../worlds/request-encoder.ts';
import type { World } from '../../worlds/world.ts';
import type { RunJudgeConfig } from '../config/config-judges.ts';
import type { Config } from '../config/config-schema.ts';
import { WORLD } from '../config/world-preset.ts';
import { requireWorld } from './run-world.ts';

/** The folder of a world's tuned model: weights without a tokenizer, which every model of a world shares. */
function isWorldFolder(spec: string): boolean {
  return existsSync(join(spec, WEIGHTS)) && !existsSync(join(spec, 'tokenizer.json'));
}

const WEIGHTS = 'model.safetensors';

/** The language model of `spec`, or of the run's world where the spec says so or names a model tuned from it. */
export async function openRunDecoder(
  models: OpenModels,
  spec: string,
  role: 'attacker' | 'target',
  world: World | undefined,
): Promise<DecoderCheckpoint> {
  if (spec === WORLD) return requireWorld(world, `${role}.model`)[role];
  if (world !== undefined && isWorldFolder(spec)) {
    const { config } = world[role];
    const checkpoint = await picoCheckpoint(join(spec, WEIGHTS), spec, config);
    return { ...checkpoint, weights: await openMergedWeights(spec, config) };
  }
  return models.openDecoder(spec, role);
}

/** A judge of the run: one that reads any text, or its world's own. Close it when done. */
export async function openRunJudge(
  config: RunJudgeConfig,
  models: OpenModels,
  world: World | undefined,
): Promise<Judge> {
  if (config.kind !== 'world') return openJudge(config, models.judges);
  return createAlarmJudge(requireWorld(world, 'judges').spec.noise);
}

/** The run's sentence encoder and how a manifest names it. Close it when done. */
export async function openRunEncoder({ encoder }: Config, models: OpenModels): Promise<OpenedEncoder> {
  if (encoder.model !== WORLD) return models.openEncoder(encoder.model, encoder.device);
  return { encoder: createRequestEncoder(), entry: { spec: 'world/request-encoder', sha256: 'built in' } };
}
