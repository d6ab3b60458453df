import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { FloodgateError } from '../../base/errors.ts';
import { openStore } from '../../store/run-store.ts';
import type { CampaignIo } from '../campaign-io.ts';
import { countingJudge, finishRun, sameRun } from '../finish-run.ts';
import type { RunFolder } from '../run-folder.ts';
import {
  admittedSeed,
  type ClaimSeed,
  type ClaimWorld,
  claimConfig,
  RETRAINED,
  SMOLLM2_OWN_WEIGHTS,
} from './claims-configs.ts';
import { type DecidedClaim, decideClaims } from './decide.ts';
import { transferToFurther, transferToTuned, tuneOnTransferred } from './further-targets.ts';
import { type ClaimParts, gatherSeedFiles, seedFilePath, writeSeedFile } from './seed-file.ts';
import { readAttackers, type SeedResult } from './seed-result.ts';

export interface ClaimsPlan {
  readonly world: ClaimWorld;
  readonly seeds: readonly number[];
  readonly parts: ClaimParts;
  /** Folder of the runs, the results and the plots. */
  readonly folder: string;
}

export interface ClaimsOutcome {
  readonly world: ClaimWorld;
  readonly claims: readonly DecidedClaim[];
  readonly seeds: readonly SeedResult[];
}

async function attackersOf(folder: RunFolder) {
  const judge = await countingJudge(folder);
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return readAttackers(store, judge);
  } finally {
    store.close();
  }
}

async function runSeed(plan: ClaimsPlan, chosen: ClaimSeed, io: CampaignIo): Promise<SeedResult> {
  const { world, folder: runsFolder } = plan;
  const { seed } = chosen;
  const base = await finishRun(await claimConfig(chosen), runsFolder, `seed-${seed}`, io);
  const own = world === 'smollm2' ? { ownWeights: SMOLLM2_OWN_WEIGHTS } : {};
  const measured = { seed, attackers: await attackersOf(base), ...own };
  if (plan.parts === 'attackers') return measured;
  const transferred = { folder: base, world, judge: await countingJudge(base) };
  const transfer = await transferToFurther(transferred, io);
  const tunings = await tuneOnTransferred(transferred, io);
  const tuned = await transferToTuned(transferred, tunings, io);
  const again = tunings.find(({ stage }) => stage === 'smoothing');
  if (again === undefined) return { ...measured, transfer, tuned };
  const config = await claimConfig(chosen, RETRAINED, again.modelPath);
  const retrained = await attackersOf(await finishRun(config, runsFolder, `seed-${seed}-tuned`, io));
  return { ...measured, transfer, tuned, retrained };
}

function resultFile({ folder, parts }: ClaimsPlan, seed: number): string {
  return seedFilePath(folder, seed, parts);
}

/**
 * Measures the claims of docs/claims.md seed by seed. Each seed's result is kept in a file of its own once it is whole; a run
 * that was stopped goes on, and a matrix that was stopped fills its missing cells only.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runClaims(plan: ClaimsPlan, io: CampaignIo): Promise<ClaimsOutcome> {
  await mkdir(plan.folder, { recursive: true });
  // C1 to C3 of every seed first: they are what a run that is stopped early should have.
  for (const seed of plan.seeds) {
    const config = await claimConfig(await admittedSeed({ world: plan.world, seed }, io));
    if (existsSync(resultFile(plan, seed))) await sameRun(config, plan.folder, `seed-${seed}`);
    else await finishRun(config, plan.folder, `seed-${seed}`, io);
  }
  const bar = io.progress.start('claims', plan.seeds.length, 'seeds');
  for (const [done, seed] of plan.seeds.entries()) {
    const file = resultFile(plan, seed);
    if (!existsSync(file)) {
      if (io.signal.aborted) throw new FloodgateError('interrupted', `claims: interrupted before seed ${seed}`);
      const result = await runSeed(plan, await admittedSeed({ world: plan.world, seed }, io), io);
      await writeSeedFile(plan.folder, { world: plan.world, parts: plan.parts, result });
    }
    bar.update(done + 1);
  }
  bar.finish();
  return decideFromFiles(plan.seeds.map((seed) => resultFile(plan, seed)));
}

/**
 * Decides the claims from seeds that were measured before, in one folder or in several, on one machine or on several.
 *
 * @throws FloodgateError as {@link gatherSeedFiles}.
 */
export async function decideFromFiles(paths: readonly string[]): Promise<ClaimsOutcome> {
  const { world, seeds } = await gatherSeedFiles(paths);
  return { world, claims: decideClaims(seeds, world === 'proving-ground'), seeds };
}
