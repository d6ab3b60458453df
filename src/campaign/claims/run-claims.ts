import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
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
import { readAttackers, type SeedResult } from './seed-result.ts';

/** `attackers`: C1 to C3 on the base target; `all`: C4 to C6 too. */
export type ClaimParts = 'attackers' | 'all';

export interface ClaimsPlan {
  readonly world: ClaimWorld;
  readonly seeds: number;
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
  return join(folder, `seed-${seed}-${parts}.json`);
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
  for (let seed = 0; seed < plan.seeds; seed++) {
    const config = await claimConfig(await admittedSeed({ world: plan.world, seed }, io));
    if (existsSync(resultFile(plan, seed))) await sameRun(config, plan.folder, `seed-${seed}`);
    else await finishRun(config, plan.folder, `seed-${seed}`, io);
  }
  const seeds: SeedResult[] = [];
  const bar = io.progress.start('claims', plan.seeds, 'seeds');
  for (let seed = 0; seed < plan.seeds; seed++) {
    const file = resultFile(plan, seed);
    if (existsSync(file)) seeds.push(JSON.parse(await readFile(file, 'utf8')) as SeedResult);
    else {
      if (io.signal.aborted) throw new FloodgateError('interrupted', `claims: interrupted before seed ${seed}`);
      const result = await runSeed(plan, await admittedSeed({ world: plan.world, seed }, io), io);
      await writeFileAtomically(file, (handle) => handle.writeFile(`${JSON.stringify(result, null, 1)}\n`));
      seeds.push(result);
    }
    bar.update(seed + 1);
  }
  bar.finish();
  return { world: plan.world, claims: decideClaims(seeds, plan.world === 'proving-ground'), seeds };
}
