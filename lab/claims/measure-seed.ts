import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import type { CampaignIo } from '../../src/stages/campaign/campaign-io.ts';
import { countingJudge, finishRun } from '../../src/stages/campaign/finish-run.ts';
import type { AttackerName } from '../../src/stages/config/attacker-names.ts';
import { type ClaimSeed, claimConfig, RETRAINED, SMOLLM2_OWN_WEIGHTS } from './claims-configs.ts';
import { transferToFurther, transferToTuned, tuneOn } from './further-targets.ts';
import { readAttackers, type SeedResult } from './seed-result.ts';

/** What is measured of a seed, each part after those before it. Each stands under its name in the seed's result. */
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
