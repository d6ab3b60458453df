import { z } from 'zod';
import { share } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import { settleSourceOptions } from '../models/sources/source-environment.ts';
import { openLocalTarget } from '../targets/local-target.ts';
import { createTargetKind, NO_MODEL_FACTS, type TargetFacts } from '../targets/target-kind.ts';
import type { TargetRecipe } from './train-target.ts';
import {
  openTransferTarget,
  TARGET_FAMILIES,
  TARGET_SIZES,
  transferConfig,
  transferKeys,
  transferTargetName,
} from './transfer-target.ts';
import type { World } from './world.ts';
import { type KnownWorld, madeWorld } from './world-registry.ts';

/** A world, and how its further targets are trained where that is not as its own. */
export interface TeachingWorld extends World {
  readonly recipe?: TargetRecipe;
}

/** A further target of a run's synthetic world: it shares a known part of the world's keys. */
export const worldTargetKind = createTargetKind({
  name: 'world',
  describe: "a model of the run's world that shares a part of its keys",
  isFree: true,
  fields: {
    family: z.enum(TARGET_FAMILIES).default('gpt2'),
    size: z.enum(TARGET_SIZES).default('small'),
    share: share.default(0.5).describe("share of the world's keys that it has too"),
    seed: z.number().int().min(0).default(0).describe('which keys are shared, and its first weights'),
  },
  async plan(config, host) {
    const world = madeWorld(host.world as KnownWorld | undefined) as TeachingWorld | undefined;
    if (world === undefined) {
      throw new FloodgateError('usage', 'target: got kind: world, but the run is in no synthetic world', {
        hint: 'name a model of this machine, or transfer a run that was made in a world (floodgate demo)',
      });
    }
    const shape = transferConfig(config.family, config.size);
    const { keys, kept } = transferKeys(world, config);
    const facts: TargetFacts = {
      ...NO_MODEL_FACTS,
      kind: config.kind,
      model: transferTargetName(world, config),
      family: config.family,
      layers: shape.layers,
      ofLayers: shape.layers,
      template: 'chat',
      shared: { keys: keys.length, kept: kept.length, seed: config.seed },
    };
    const compute: ComputeOptions = { device: 'cpu', threads: host.threads };
    const open = async () => {
      const { progress, signal } = host;
      const { cacheDir } = settleSourceOptions(host.cacheDir === undefined ? {} : { cacheDir: host.cacheDir });
      const taught = world.recipe === undefined ? {} : { recipe: world.recipe };
      const checkpoint = await openTransferTarget(world, config, { cacheDir, compute, progress, signal, ...taught });
      const target = await openLocalTarget({ checkpoint, template: 'chat', seed: host.seed, compute });
      return { target, facts: { ...facts, sha256: checkpoint.sha256 }, checkpoint, close: () => target.close() };
    };
    return { facts, open };
  },
});
