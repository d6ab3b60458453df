import { join, resolve } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { finishRuns } from '../../stages/campaign/whole-runs.ts';
import type { Config } from '../../stages/config/config.ts';
import type { CampaignIo } from '../../stages/stage.ts';

/** One config at several seeds: a run each, `NAME-seed-SEED` in the folder of runs. */
export interface SeedsPlan {
  /** Its `seed` and its `name` are replaced. */
  readonly config: Config;
  readonly runsFolder: string;
  readonly name: string;
  readonly seeds: readonly number[];
}

/** Most seeds of one study: names of that many folders are read and written at once. */
const MAX_SEEDS = 1000;

/** The name of a seed's run, or the pattern of all. */
export const seedRunName = (name: string, seed: number | '*'): string => `${name}-seed-${seed}`;

/** Seeds from words such as `0..4` or `0,3,10..12`, each once. @throws FloodgateError `usage` for any others. */
export function parseSeeds(text: string): number[] {
  const refuse = (): never => {
    throw new FloodgateError('usage', `--seeds: got ${JSON.stringify(text)}, expected 0..4 or 0,3,7`);
  };
  const seeds = new Set<number>();
  for (const part of text.split(',')) {
    const [, from, to = from] = /^(\d{1,9})(?:\.\.(\d{1,9}))?$/.exec(part.trim()) ?? refuse();
    if (Number(to) < Number(from)) refuse();
    if (seeds.size + Number(to) - Number(from) >= MAX_SEEDS)
      throw new FloodgateError('usage', `--seeds: got ${JSON.stringify(text)}, expected at most ${MAX_SEEDS} seeds`);
    for (let seed = Number(from); seed <= Number(to); seed++) seeds.add(seed);
  }
  return [...seeds];
}

/**
 * Finishes the run of each seed, here or on workers. A later call continues those that were stopped, and leaves those
 * that are done. @throws FloodgateError `run` for a run of that name with other settings; otherwise as `finishRuns`.
 */
export async function runSeeds(
  { config, runsFolder, name, seeds }: SeedsPlan,
  io: CampaignIo,
  finished: (run: RunFolder) => Promise<unknown> = async () => undefined,
): Promise<RunFolder[]> {
  const folder = resolve(runsFolder);
  const runs = seeds.map((seed) => {
    const own = seedRunName(name, seed);
    return { config: { ...config, seed, name: own }, runsFolder: folder, name: own, note: `seed ${seed}` };
  });
  const id = { idFolder: join(folder, `.${name}-seeds`) };
  return finishRuns({ label: 'seeds', unit: 'runs', runs, ...id, finished }, io);
}
