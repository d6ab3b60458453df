import { existsSync } from 'node:fs';
import { removePartialFiles } from '../../base/atomic-file.ts';
import { nowMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { acquireRunLock } from '../../base/lock.ts';
import { packageVersion } from '../../base/package-version.ts';
import { runtimeVersion } from '../../engine/runtime/version.ts';
import { createManifest, readManifest, writeManifest } from '../../runs/manifest.ts';
import { createRunFolder, loadRunConfig, type RunFolder } from '../../runs/run-folder.ts';
import { recordRunStatus } from '../../runs/run-status.ts';
import { openStore, type RunStore } from '../../runs/store/run-store.ts';
import { CONTROL_STAGE, evaluationStage } from '../../runs/store/stage-name.ts';
import { type AttackerName, attackersToTrain, smoothingOf } from '../config/attacker-names.ts';
import type { Config } from '../config/config-schema.ts';
import type { EvaluationPlan } from '../evaluation/evaluation-plan.ts';
import { runControls } from '../evaluation/stage-controls.ts';
import { evaluateStage } from '../evaluation/stage-evaluate.ts';
import { runGflownet } from '../stage-gflownet.ts';
import { runPpo } from '../stage-ppo.ts';
import { runReinforce } from '../stage-reinforce.ts';
import { runSft } from '../stage-sft.ts';
import { runSmoothing } from '../stage-smoothing.ts';
import { type Campaign, openCampaign } from './campaign.ts';
import type { CampaignIo } from './campaign-io.ts';
import { loadRunSeeds, openRunWorld } from './run-world.ts';

/** How the attackers that learn from rewards are trained; the others need no training of their own. */
const TRAIN: Readonly<Partial<Record<AttackerName, (campaign: Campaign) => Promise<void>>>> = {
  sft: runSft,
  gflownet: (campaign) => runGflownet(campaign, 'gflownet'),
  'stable-gfn': (campaign) => runGflownet(campaign, 'stable-gfn'),
  reinforce: runReinforce,
  ppo: runPpo,
};

async function train(campaign: Campaign, stage: AttackerName): Promise<void> {
  if (smoothingOf(stage) !== undefined) await runSmoothing(campaign, stage);
  else await TRAIN[stage]?.(campaign);
}

export interface StartRunOptions {
  readonly config: Config;
  readonly runsFolder: string;
  readonly name: string;
  readonly ifTaken: 'refuse' | 'number';
}

/** Runs every stage of a new run. Bad seeds and missing models are found before the folder is made. */
export async function startRun(options: StartRunOptions, io: CampaignIo): Promise<RunFolder> {
  await loadRunSeeds(options.config, await openRunWorld(options.config, io));
  const folder = await createRunFolder(options);
  return withRun(folder, io, runStages);
}

/** Continues a run where it stopped; a run that is done is only reported. */
export async function resumeRun(folder: RunFolder, io: CampaignIo): Promise<RunFolder> {
  return withRun(folder, io, async (campaign) => {
    campaign.store.recordEvent({ level: 'info', code: 'resumed', message: 'the run was resumed' });
    await runStages(campaign);
  });
}

/** Measures stages again or with other numbers; what stood there before is replaced. */
export async function evaluateRun(
  folder: RunFolder,
  stages: readonly AttackerName[],
  plan: Partial<EvaluationPlan>,
  io: CampaignIo,
): Promise<RunFolder> {
  return withRun(folder, io, async (campaign) => {
    for (const stage of stages) {
      const name = evaluationStage(stage);
      if (campaign.store.stages().some((row) => row.name === name)) campaign.store.truncateAfter(name, -1);
      await evaluateStage(campaign, stage, { ...evaluationPlan(campaign.config), ...plan });
    }
  });
}

export function evaluationPlan({ evaluation, seed }: Config): EvaluationPlan {
  const { attacks, responses, temperature } = evaluation;
  return { attacks, responses, temperature, seed };
}

/** True when a smoothing stage had nothing to learn from and so left no attacker to measure. */
function leftNoAttacker({ store }: Campaign, name: AttackerName): boolean {
  return store.events().some(({ stage, code }) => stage === name && code === 'nothing-collected');
}

async function runStages(campaign: Campaign): Promise<void> {
  const { store, config } = campaign;
  const isDone = (name: string): boolean => store.stages().some((row) => row.name === name && row.status === 'done');
  if (config.evaluation.controls > 0 && !isDone(CONTROL_STAGE)) await runControls(campaign);
  for (const stage of attackersToTrain(config.attackers)) {
    if (!isDone(stage)) await train(campaign, stage);
    const isWanted = config.attackers.includes(stage) && !leftNoAttacker(campaign, stage);
    if (isWanted && !isDone(evaluationStage(stage))) await evaluateStage(campaign, stage, evaluationPlan(config));
  }
}

/** Takes the run's lock, opens everything, does the work, and leaves the status true whatever happens. */
async function withRun(
  folder: RunFolder,
  io: CampaignIo,
  work: (campaign: Campaign) => Promise<void>,
): Promise<RunFolder> {
  const lock = await acquireRunLock(folder.lockPath);
  try {
    await removePartialFiles(folder.path);
    await removePartialFiles(folder.checkpointsPath);
    const config = await loadRunConfig(folder);
    const store = await openStore(folder.databasePath);
    try {
      recordRunStatus(store, 'running');
      await withCampaign({ folder, config, store }, io, work);
      recordRunStatus(store, 'done');
      return folder;
    } catch (error) {
      recordFailure(store, error);
      throw error;
    } finally {
      store.close();
    }
  } finally {
    await lock.release();
  }
}

/** Notes how a run ended. Where the disk takes no more, that cannot be noted either, and the first error says why. */
function recordFailure(store: RunStore, error: unknown): void {
  const status = error instanceof FloodgateError && error.code === 'interrupted' ? 'interrupted' : 'failed';
  const message = error instanceof Error ? error.message : String(error);
  try {
    recordRunStatus(store, status);
    store.recordEvent({ level: status === 'failed' ? 'error' : 'info', code: status, message });
  } catch (cause) {
    if (!(cause instanceof FloodgateError)) throw cause;
  }
}

async function withCampaign(
  parts: { readonly folder: RunFolder; readonly config: Config; readonly store: RunStore },
  io: CampaignIo,
  work: (campaign: Campaign) => Promise<void>,
): Promise<void> {
  const world = await openRunWorld(parts.config, io);
  const seeds = await loadRunSeeds(parts.config, world);
  const campaign = await openCampaign({ ...parts, seeds, world }, io);
  try {
    await recordManifest(campaign);
    await work(campaign);
  } finally {
    await campaign.close();
  }
}

/** Writes the manifest of a new run; an existing one stands, and what has changed since is recorded as a warning. */
async function recordManifest(campaign: Campaign): Promise<void> {
  const { folder, config, seeds, models, trainingJudge, evaluationJudges, compute, store, targetInt8 } = campaign;
  const manifest = createManifest({
    run: folder.name,
    config,
    createdMs: nowMs(),
    versions: { floodgate: packageVersion(), 'onnxruntime-node': runtimeVersion() },
    threads: compute.threads,
    seedsSha256: seeds.sha256,
    models,
    ...(targetInt8 === undefined ? {} : { targetInt8 }),
    judges: { training: trainingJudge.name, evaluation: evaluationJudges.map((judge) => judge.name) },
  });
  if (!existsSync(folder.manifestPath)) {
    await writeManifest(folder.manifestPath, manifest);
    return;
  }
  const before = await readManifest(folder.manifestPath); // a damaged one is an error, never overwritten
  const changed = [
    ...models
      .filter(({ role, sha256 }) => before.models.some((old) => old.role === role && old.sha256 !== sha256))
      .map(({ role }) => `model of ${role}`),
    ...(before.threads === manifest.threads ? [] : [`threads ${before.threads} -> ${manifest.threads}`]),
    ...(before.seedsSha256 === manifest.seedsSha256 ? [] : ['seed file']),
    ...Object.entries(manifest.versions)
      .filter(([name, version]) => before.versions[name] !== version)
      .map(([name]) => `version of ${name}`),
  ];
  if (changed.length > 0) {
    store.recordEvent({
      level: 'warning',
      code: 'resumed-differently',
      message: `since the run began: ${changed.join(', ')}; it no longer repeats bit for bit`,
    });
  }
}
