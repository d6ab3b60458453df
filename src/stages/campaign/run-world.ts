import { sha256Of } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { defaultThreads } from '../../engine/runtime/device.ts';
import { settleSourceOptions } from '../../models/sources/source-environment.ts';
import { WORLD } from '../../worlds/world-preset.ts';
import { type KnownWorld, worldKindOf } from '../../worlds/world-registry.ts';
import type { Config } from '../config/config.ts';
import { loadConfigSeeds, type SeedSet } from '../config/seeds.ts';
import type { CampaignIo } from '../stage.ts';

/** The config's world, built when it is new; undefined for a run without one. */
export async function openRunWorld(
  config: Pick<Config, 'world' | 'threads'>,
  io: CampaignIo,
): Promise<KnownWorld | undefined> {
  if (config.world === undefined) return undefined;
  const { cacheDir } = settleSourceOptions(io.cacheDir === undefined ? {} : { cacheDir: io.cacheDir });
  return worldKindOf(config.world).open(config.world, {
    cacheDir,
    compute: { device: 'cpu', threads: config.threads ?? defaultThreads() },
    progress: io.progress,
    signal: io.signal,
  });
}

/** Distance between the world seeds that one seed tries, so that consecutive seeds never share one. */
const NEXT_WORLD = 100;
const MAX_WORLDS = 10;

/** Whether the error refuses a world as unfit for measurement. */
export function isRefusal(error: unknown): boolean {
  return error instanceof FloodgateError && error.code === 'world';
}

/**
 * The first of the world seeds `first`, `first` + 100, ... whose world is admitted; builds what is new, and says which
 * world comes next.
 *
 * @throws FloodgateError `world` when ten in a row are refused.
 */
export async function admittedWorldSeed(
  first: number,
  configOf: (worldSeed: number) => Config | Promise<Config>,
  io: CampaignIo,
): Promise<number> {
  for (let choice = 0; ; choice++) {
    const worldSeed = first + NEXT_WORLD * choice;
    try {
      await openRunWorld(await configOf(worldSeed), io);
      return worldSeed;
    } catch (error) {
      if (!isRefusal(error) || choice + 1 === MAX_WORLDS) throw error;
      io.progress.say?.(`${(error as FloodgateError).message}; next: world ${worldSeed + NEXT_WORLD}`);
    }
  }
}

/** The seeds of the config: those of its world, or those of its file. */
export async function loadRunSeeds(config: Config, world: KnownWorld | undefined): Promise<SeedSet> {
  if (config.seeds.path !== WORLD || world === undefined) return loadConfigSeeds(config);
  return {
    attacks: [...new Set(world.seeds)],
    format: 'text',
    column: undefined,
    sha256: sha256Of(Buffer.from(world.seeds.join('\n'))),
    skipped: { empty: 0, duplicate: world.seeds.length - new Set(world.seeds).size, tooLong: 0 },
  };
}
