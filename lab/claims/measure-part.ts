import { join } from 'node:path';
import { canonicalJson, sha256Of } from '../../src/base/canonical-json.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { countingJudgeOf } from '../../src/runs/manifest.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { askedSha256 } from '../../src/stages/campaign/config-load.ts';
import { finishRun } from '../../src/stages/campaign/run-campaign.ts';
import { openConfigModels } from '../../src/stages/campaign/run-models.ts';
import { admittedWorldSeed } from '../../src/stages/campaign/run-world.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { waysHeldBy } from '../../src/worlds/world-registry.ts';
import type { AttackerName } from '../attackers.ts';
import { successCommunities, trainingFinds, waysFoundAt, wordingsFoundAt } from './discovery.ts';
import { type TransferredRun, transferToFurther, transferToTuned, tuneOn } from './further-targets.ts';
import { ARMS, type ArmName, type ArmRun, type Ground } from './grounds/ground.ts';
import { keptPart, type PartName, writePart } from './part-file.ts';
import { type AttackerFigures, readFigures, type SeedResult } from './seed-result.ts';

/** One seed of a ground at one budget. */
export interface SeedPlan {
  readonly ground: Ground;
  readonly budget: number;
  readonly seed: number;
  readonly threads: number;
  /** Of the runs, and of the files that keep their figures. */
  readonly folder: string;
  /** Reads the figures of finished runs again, in place of those that are kept. */
  readonly again: boolean;
}

/** Attackers that are retrained against a tuned target. */
const RETRAINED: readonly AttackerName[] = ['sft', 'gflownet', 'smoothing'];

/** Arms whose stored attacks meet other targets. */
const COMPARED: readonly ArmName[] = ['ours', 'baselines'];

const isArm = (part: PartName): part is ArmName => (ARMS as readonly string[]).includes(part);

/** Parts that a ground has: its arms, and other targets where it names some. */
export function partsOf({ arms, targets }: Ground, parts: readonly PartName[]): PartName[] {
  return parts.filter((part) => {
    if (isArm(part)) return arms[part] !== undefined;
    return part === 'transfer' ? targets.further.length > 0 : targets.tuning.length > 0;
  });
}

/** Digest of all that a part asks for but the seed; the same on every machine and at every number of threads. */
async function settingsOf({ ground, budget }: SeedPlan, part: PartName): Promise<string> {
  const arms = isArm(part) ? [part] : COMPARED;
  const digests: string[] = [];
  for (const arm of arms) {
    digests.push(await askedSha256(await ground.config({ arm, seed: 0, budget, worldSeed: 0, threads: 1 })));
  }
  return sha256Of(canonicalJson({ digests, ...(isArm(part) ? {} : { targets: ground.targets }) }));
}

/** The first world of the seed that is admitted, built where it is new; undefined where the ground has none. */
async function worldSeedOf({ ground, ...plan }: SeedPlan, io: CampaignIo): Promise<number | undefined> {
  if (ground.firstWorldSeed === undefined) return undefined;
  const arm = Object.keys(ground.arms)[0] as ArmName;
  return admittedWorldSeed(
    ground.firstWorldSeed(plan.budget) + plan.seed,
    (worldSeed) => ground.config({ ...plan, arm, worldSeed }),
    io,
  );
}

async function runArm(plan: SeedPlan, run: Partial<ArmRun> & { readonly arm: ArmName }, name: string, io: CampaignIo) {
  const { ground, budget, seed, threads, folder } = plan;
  const worldSeed = await worldSeedOf(plan, io);
  const place = { seed, budget, threads, ...(worldSeed === undefined ? {} : { worldSeed }) };
  return finishRun(await ground.config({ ...place, ...run }), folder, `${name}-${seed}`, io);
}

/** The figures of the run's attackers, with the discovery of those whose training is stored. */
async function figuresOf(
  plan: SeedPlan,
  { arm, attackers }: { readonly arm: ArmName; readonly attackers: readonly AttackerName[] },
  run: RunFolder,
  io: CampaignIo,
): Promise<SeedResult['attackers']> {
  const { ground, budget, seed, threads } = plan;
  const worldSeed = await worldSeedOf(plan, io);
  const config = await ground.config({ arm, seed, budget, threads, ...(worldSeed === undefined ? {} : { worldSeed }) });
  const models = await openConfigModels(config, io);
  const judge = await countingJudgeOf(run);
  const store = await openStore(run.databasePath, { readOnly: true });
  const { world } = models;
  const { encoder } = await models.openEncoder();
  const figures: Partial<Record<AttackerName, AttackerFigures>> = {};
  try {
    for (const name of attackers) {
      const read = readFigures(store, name, judge);
      if (read === undefined) continue;
      const { asked, finds } = trainingFinds(store, name);
      const texts = finds.map(({ text }) => text);
      const foundAt =
        world === undefined
          ? await wordingsFoundAt(finds, encoder)
          : waysFoundAt(finds, await waysHeldBy(world, texts, io.signal));
      figures[name] = {
        ...read,
        communities: await successCommunities(store, name, judge, encoder),
        ...(asked === 0 ? {} : { foundAt }),
      };
    }
    return figures;
  } finally {
    await encoder.close();
    store.close();
  }
}

async function measureArm(plan: SeedPlan, arm: ArmName, io: CampaignIo): Promise<Partial<SeedResult>> {
  const attackers = plan.ground.arms[arm] ?? [];
  const figures = await figuresOf(plan, { arm, attackers }, await runArm(plan, { arm }, arm, io), io);
  if (arm === 'reference' || arm === 'today') return { [arm]: figures };
  const { ownWeights } = plan.ground;
  return { attackers: figures, ...(arm === 'ours' && ownWeights !== undefined ? { ownWeights } : {}) };
}

/** The finished runs whose stored attacks meet other targets. */
async function comparedRuns(plan: SeedPlan, io: CampaignIo): Promise<TransferredRun[]> {
  const runs: TransferredRun[] = [];
  for (const arm of COMPARED) {
    const folder = await runArm(plan, { arm }, arm, io);
    runs.push({ folder, targets: plan.ground.targets, judge: await countingJudgeOf(folder) });
  }
  return runs;
}

/** Trains against a target that was tuned on smoothing's data; nothing where smoothing had no success. */
async function measureRetrained(plan: SeedPlan, io: CampaignIo): Promise<Partial<SeedResult>> {
  const [ours] = await comparedRuns(plan, io);
  const [tuned] = await tuneOn(['smoothing'], ours as TransferredRun, io);
  if (tuned === undefined) return {};
  const retrained = { arm: 'ours', attackers: RETRAINED } as const;
  const run = await runArm(plan, { ...retrained, targetModel: tuned.modelPath }, 'retrained', io);
  return { retrained: await figuresOf(plan, retrained, run, io) };
}

async function measure(part: PartName, plan: SeedPlan, io: CampaignIo): Promise<Partial<SeedResult>> {
  if (isArm(part)) return measureArm(plan, part, io);
  if (part === 'retrained') return measureRetrained(plan, io);
  const runs = await comparedRuns(plan, io);
  if (part === 'tuned') return { tuned: await transferToTuned(runs, io) };
  return { transfer: await transferToFurther(runs, io) };
}

/**
 * Measures a part of a seed and keeps its figures, unless that was done. A stopped run resumes.
 *
 * @throws FloodgateError as the runs do; `run` when it was begun with other settings; `interrupted` on abort.
 */
export async function finishPart(part: PartName, plan: SeedPlan, io: CampaignIo): Promise<void> {
  const { ground, budget, seed, folder } = plan;
  const settingsSha256 = await settingsOf(plan, part);
  const kept = await keptPart(folder, { part, seed, settingsSha256 });
  if (kept !== undefined && !plan.again) return;
  if (io.signal.aborted) throw new FloodgateError('interrupted', `claims: interrupted before ${part} of seed ${seed}`);
  const result: SeedResult = { seed, attackers: {}, ...(await measure(part, plan, io)) };
  await writePart(folder, { ground: ground.name, budget, part, settingsSha256, result });
}

/** Folder of one ground at one budget below that of all runs. */
export function groundFolder(runsDir: string, ground: string, budget: number): string {
  return join(runsDir, 'claims', ground, String(budget));
}
