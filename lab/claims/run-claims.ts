import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import type { CampaignIo } from '../../src/stages/campaign/campaign-io.ts';
import { sameRun } from '../../src/stages/campaign/finish-run.ts';
import type { AttackerName } from '../../src/stages/config/attacker-names.ts';
import { admittedSeed, type ClaimWorld, COMPARED, claimConfig } from './claims-configs.ts';
import { type DecidedClaim, decideClaims } from './decide.ts';
import { gatherSeedFiles } from './gather-seeds.ts';
import { CLAIM_PARTS, type ClaimPart, measurePart } from './measure-seed.ts';
import { readSeedFile, seedFilePath, writeSeedFile } from './seed-file.ts';
import type { SeedResult } from './seed-result.ts';
import { settingsOf } from './seed-settings.ts';

export interface ClaimsPlan {
  readonly world: ClaimWorld;
  readonly seeds: readonly number[];
  /** The last part that is measured, after all before it. */
  readonly until: ClaimPart;
  /** Those that are measured; all that the world compares when absent. */
  readonly attackers?: readonly AttackerName[];
  /** Folder of the runs, the results and the plots. */
  readonly folder: string;
}

export interface ClaimsOutcome {
  readonly world: ClaimWorld;
  readonly claims: readonly DecidedClaim[];
  readonly seeds: readonly SeedResult[];
}

/** The wanted attackers in the order of the product. @throws FloodgateError `usage` for one that the world does not compare. */
function attackersOf({ world, attackers: wanted }: ClaimsPlan): readonly AttackerName[] {
  const compared = COMPARED[world];
  if (wanted === undefined) return compared;
  const strange = wanted.find((name) => !compared.includes(name));
  if (strange === undefined) return compared.filter((name) => wanted.includes(name));
  throw new FloodgateError('usage', `claims: got the attacker ${strange}, which ${world} does not compare`, {
    hint: `choose of ${compared.join(', ')}`,
  });
}

/** What was measured of a seed before. @throws FloodgateError `run` when it was with other settings or other attackers. */
async function keptResult(plan: ClaimsPlan, seed: number): Promise<SeedResult | undefined> {
  const path = seedFilePath(plan.folder, seed);
  if (!existsSync(path)) return undefined;
  const { world, settingsSha256, result } = await readSeedFile(path);
  const attackers = attackersOf(plan);
  const measured = Object.keys(settingsSha256.attackers).sort().join(', ');
  const wanted = [...attackers].sort().join(', ');
  const isSame = canonicalJson(settingsSha256) === canonicalJson(await settingsOf(plan.world, attackers, result));
  if (world === plan.world && measured === wanted && isSame) return result;
  const what = measured === wanted ? 'with other settings' : `of ${measured}, expected ${wanted}`;
  throw new FloodgateError('run', `${path}: it was measured ${what}`, {
    hint: 'choose another --runs-dir, or remove that file and the runs beside it',
  });
}

/** Measures a part of a seed, unless that was done, and keeps it. */
async function addPart(part: ClaimPart, plan: ClaimsPlan, seed: number, io: CampaignIo): Promise<void> {
  const kept = await keptResult(plan, seed);
  const attackers = attackersOf(plan);
  const chosen = await admittedSeed({ world: plan.world, seed }, io);
  if (kept?.[part] !== undefined) {
    await sameRun(await claimConfig(chosen, attackers), plan.folder, `seed-${seed}`);
    return;
  }
  const measured = await measurePart(part, { chosen, attackers, runsFolder: plan.folder }, io);
  const result = { seed, attackers: {}, ...kept, ...measured };
  await writeSeedFile(plan.folder, { world: plan.world, attackers, result });
}

/**
 * Measures the claims of docs/claims.md, part by part: what a run that is stopped early has is the cheaper parts of every seed.
 * Each seed's result is kept in a file of its own; a run that was stopped goes on, and a matrix that was stopped fills its
 * missing cells only.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runClaims(plan: ClaimsPlan, io: CampaignIo): Promise<ClaimsOutcome> {
  // What cannot be gone on from is refused before any work.
  attackersOf(plan);
  for (const seed of plan.seeds) await keptResult(plan, seed);
  await mkdir(plan.folder, { recursive: true });
  const parts = CLAIM_PARTS.slice(0, CLAIM_PARTS.indexOf(plan.until) + 1);
  const steps = parts.flatMap((part) => plan.seeds.map((seed) => ({ part, seed })));
  const bar = io.progress.start('claims', steps.length, 'parts');
  for (const [done, { part, seed }] of steps.entries()) {
    if (io.signal.aborted)
      throw new FloodgateError('interrupted', `claims: interrupted before ${part} of seed ${seed}`);
    await addPart(part, plan, seed, io);
    bar.update(done + 1);
  }
  bar.finish();
  return decideFromFiles(plan.seeds.map((seed) => seedFilePath(plan.folder, seed)));
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
