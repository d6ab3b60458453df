import { mkdir } from 'node:fs/promises';
import { admittedWorldSeed } from '../../src/stages/campaign/run-world.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { type AttackerRow, keptRow } from '../small-worlds/attacker-rows.ts';
import { smallWorldConfig } from '../small-worlds/small-world.ts';
import { type SearchedAttacker, trialOverrides } from './search-spaces.ts';

/** Seeds of synthetic worlds in which settings are chosen; nothing else uses them. */
const FIRST_WORLD_SEED = 900;

export interface SearchPlan {
  readonly attackers: readonly SearchedAttacker[];
  /** Of each attacker, the defaults among them. */
  readonly trials: number;
  readonly worlds: number;
  /** Folder of the runs and of their figures. */
  readonly folder: string;
}

/** One choice of settings, in every world. */
export interface SearchTrial {
  readonly attacker: SearchedAttacker;
  readonly trial: number;
  readonly overrides: readonly string[];
  /** A row a world; undefined where the attacker was not measured. */
  readonly rows: readonly (AttackerRow | undefined)[];
  /** Mean over worlds of keys found x ASR: what the best is chosen by. An attacker that was not measured has 0 there. */
  readonly score: number;
}

/** Keys found x ASR, over worlds: an attacker must find many ways and succeed. */
export function searchScore(rows: readonly (AttackerRow | undefined)[]): number {
  const products = rows.map((row) => (row?.modeRecall ?? 0) * (row?.asr ?? 0));
  return products.reduce((sum, product) => sum + product, 0) / products.length;
}

/** The best trial of each attacker; of equals the earlier, so that defaults stay. */
export function bestTrials(trials: readonly SearchTrial[]): SearchTrial[] {
  const best = new Map<SearchedAttacker, SearchTrial>();
  for (const trial of trials) {
    const leader = best.get(trial.attacker);
    if (leader === undefined || trial.score > leader.score) best.set(trial.attacker, trial);
  }
  return [...best.values()];
}

/**
 * Runs the same number of random trials for every attacker, in the same worlds. Finished runs are kept: a stopped
 * search resumes, and a search with more trials or worlds adds to the earlier ones.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runSearch(plan: SearchPlan, io: CampaignIo): Promise<SearchTrial[]> {
  const { attackers, trials, worlds, folder } = plan;
  await mkdir(folder, { recursive: true });
  const configOf = (attacker: SearchedAttacker, seed: number, worldSeed: number, overrides: readonly string[]) =>
    smallWorldConfig({ purpose: 'the search', seed, worldSeed, attackers: [attacker], overrides });
  const worldSeeds: number[] = [];
  for (let world = 0; world < worlds; world++) {
    worldSeeds.push(
      await admittedWorldSeed(FIRST_WORLD_SEED + world, (seed) => configOf('gflownet', world, seed, []), io),
    );
  }
  const bar = io.progress.start('search', attackers.length * trials * worlds, 'runs');
  const found: SearchTrial[] = [];
  let done = 0;
  for (const attacker of attackers) {
    for (let trial = 0; trial < trials; trial++) {
      const overrides = trialOverrides(attacker, trial);
      const rows: (AttackerRow | undefined)[] = [];
      for (const [world, worldSeed] of worldSeeds.entries()) {
        const config = configOf(attacker, world, worldSeed, overrides);
        const run = { name: `${attacker}-${trial}-${world}`, config, attackers: [attacker], folder };
        rows.push((await keptRow(run, io))[attacker]);
        bar.update(++done);
      }
      found.push({ attacker, trial, overrides, rows, score: searchScore(rows) });
    }
  }
  bar.finish();
  return found;
}
