import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { countingJudge, finishRun, sameRun } from '../../src/stages/campaign/run-campaign.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import type { AttackerName } from '../attackers.ts';
import {
  admittedSeed,
  type ClaimSeed,
  type ClaimWorld,
  COMPARED,
  claimConfig,
  RETRAINED,
  SMOLLM2_OWN_WEIGHTS,
} from './claims-configs.ts';
import { type DecidedClaim, decideClaims } from './decide.ts';
import { transferToFurther, transferToTuned, tuneOn } from './further-targets.ts';
import { gatherSeedFiles } from './gather-seeds.ts';
import { readSeedFile, seedFilePath, settingsOf, writeSeedFile } from './seed-file.ts';
import { readAttackers, type SeedResult } from './seed-result.ts';

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

/** Reads an earlier result of a seed. @throws FloodgateError `run` when its settings or its attackers differ. */
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
 * Measures the claims of docs/claims.md, part by part, so that a run stopped early has the cheaper parts of every seed.
 * Each seed's result has its own file. A stopped run resumes, and a stopped matrix fills its missing cells only.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runClaims(plan: ClaimsPlan, io: CampaignIo): Promise<ClaimsOutcome> {
  // A result that cannot be resumed is refused before any work.
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

/** The parts of a seed's measurement in their order. The seed's result has a key of the same name for each. */
export const CLAIM_PARTS = [
  'attackers',
  'transfer',
  'retrained',
  'tuned',
] as const satisfies readonly (keyof SeedResult)[];
export type ClaimPart = (typeof CLAIM_PARTS)[number];

export interface SeedPlan {
  readonly chosen: ClaimSeed;
  /** In the order of the product. */
  readonly attackers: readonly AttackerName[];
  /** Folder of the runs. */
  readonly runsFolder: string;
}

type Measured = Partial<Omit<SeedResult, 'seed'>>;

async function figuresOf(folder: RunFolder): Promise<SeedResult['attackers']> {
  const judge = await countingJudge(folder);
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return readAttackers(store, judge);
  } finally {
    store.close();
  }
}

/** Trains against a target that was tuned on smoothing's data; nothing where smoothing was not measured or had no success. */
async function retrained({ chosen, runsFolder }: SeedPlan, base: RunFolder, io: CampaignIo): Promise<Measured> {
  if ((await figuresOf(base)).smoothing === undefined) return {};
  const run = { folder: base, world: chosen.world, judge: await countingJudge(base) };
  const [tuned] = await tuneOn(['smoothing'], run, io);
  if (tuned === undefined) return {};
  const config = await claimConfig(chosen, RETRAINED, tuned.modelPath);
  return { retrained: await figuresOf(await finishRun(config, runsFolder, `seed-${chosen.seed}-tuned`, io)) };
}

/** Measures one part of a seed, or what is left of it, and whatever it needs. */
export async function measurePart(part: ClaimPart, plan: SeedPlan, io: CampaignIo): Promise<Measured> {
  const { world, seed } = plan.chosen;
  const config = await claimConfig(plan.chosen, plan.attackers);
  const base = await finishRun(config, plan.runsFolder, `seed-${seed}`, io);
  switch (part) {
    case 'attackers': {
      const own = world === 'smollm2' ? { ownWeights: SMOLLM2_OWN_WEIGHTS } : {};
      return { attackers: await figuresOf(base), ...own };
    }
    case 'transfer':
      return { transfer: await transferToFurther({ folder: base, world, judge: await countingJudge(base) }, io) };
    case 'retrained':
      return retrained(plan, base, io);
    case 'tuned':
      return { tuned: await transferToTuned({ folder: base, world, judge: await countingJudge(base) }, io) };
  }
}
