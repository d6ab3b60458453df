import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { removePartialFiles } from '../../base/atomic-file.ts';
import { nowMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import { packageVersion } from '../../base/package-root.ts';
import { runtimeVersion } from '../../engine/runtime/session.ts';
import { createManifest, type Manifest, type ModelEntry, readManifest, writeManifest } from '../../runs/manifest.ts';
import { createRunFolder, openRunFolder, type RunFolder, recordRunStatus, runStatus } from '../../runs/run-folder.ts';
import { openStore, type RunStore } from '../../runs/store/run-store.ts';
import { CONTROL_STAGE } from '../../runs/store/stage-name.ts';
import { targetDevice } from '../../targets/registry.ts';
import type { Config } from '../config/config.ts';
import { runControls } from '../evaluation/controls.ts';
import {
  begunEvaluations,
  checkEvaluation,
  type EvaluationRequest,
  evaluateAgain,
  finishEvaluation,
  leftNoAttacker,
  measurableStages,
} from '../evaluation/stored-evaluation.ts';
import { stagesToTrain } from '../registry.ts';
import type { Campaign, CampaignIo } from '../stage.ts';
import { askedSha256, configSha256, loadRunConfig, movableConfig } from './config-load.ts';
import { openCampaign, rehearseRun } from './open-campaign.ts';
import { loadRunSeeds, openRunWorld } from './run-world.ts';

export interface StartRunOptions {
  readonly config: Config;
  readonly runsFolder: string;
  readonly name: string;
  readonly ifTaken: 'refuse' | 'number';
  /** Told the folder as soon as it is made. */
  readonly created?: (folder: RunFolder) => void;
}

/** Runs every stage of a new run. Finds bad seeds and a target that does not answer before it makes the folder. */
export async function startRun(options: StartRunOptions, io: CampaignIo): Promise<RunFolder> {
  const { config, runsFolder, name, ifTaken } = options;
  const world = await openRunWorld(config, io);
  await loadRunSeeds(config, world);
  await rehearseRun(config, io, world);
  const configAt = (path: string) => movableConfig(config, path);
  const folder = await createRunFolder({ runsFolder, name, ifTaken, configAt });
  options.created?.(folder);
  return withRun(folder, io, runStages);
}

/** Resumes a run where it stopped; a finished run is only reported. */
export async function resumeRun(folder: RunFolder, io: CampaignIo): Promise<RunFolder> {
  return withRun(folder, io, async (campaign) => {
    campaign.store.recordEvent({ level: 'info', code: 'resumed', message: 'the run was resumed' });
    await runStages(campaign);
  });
}

/**
 * Measures stages with fresh attacks. With the settings of the stored attacks, more attacks are added to them; other
 * settings, or fewer attacks, need `replace`.
 *
 * @param wanted names of stages; undefined for those attackers of the run's config that can be measured.
 * @throws FloodgateError `usage`, with nothing written, for a stage that the run has not trained, and for measurements
 * that would be discarded without `replace`.
 */
export async function evaluateRun(
  folder: RunFolder,
  wanted: readonly string[] | undefined,
  request: EvaluationRequest,
  io: CampaignIo,
): Promise<RunFolder> {
  const stagesOf = (store: RunStore, config: Config): readonly string[] =>
    wanted ?? measurableStages(store, config).filter((name) => config.attackers.includes(name));
  const work = async (campaign: Campaign): Promise<void> => {
    for (const stage of stagesOf(campaign.store, campaign.config)) await evaluateAgain(campaign, stage, request);
  };
  return withRun(folder, io, work, (store, config) => {
    for (const stage of stagesOf(store, config)) checkEvaluation({ run: folder.name, store, config }, stage, request);
  });
}

async function runStages(campaign: Campaign): Promise<void> {
  const { store, config } = campaign;
  const isDone = (name: string): boolean => store.stages().some((row) => row.name === name && row.status === 'done');
  for (const stage of stagesToTrain(config.attackers)) if (!isDone(stage.name)) await stage.checkModels?.(campaign);
  if (config.evaluation.controls > 0 && !isDone(CONTROL_STAGE)) await runControls(campaign);
  for (const stage of stagesToTrain(config.attackers)) {
    if (!isDone(stage.name)) await stage.run?.(campaign);
    const isWanted = config.attackers.includes(stage.name) && !leftNoAttacker(store, stage.name);
    if (isWanted) await finishEvaluation(campaign, stage.name);
  }
  for (const name of begunEvaluations(store, config)) await finishEvaluation(campaign, name);
}

/**
 * Takes the run's lock, opens everything, does the work, and always records the true status. `check` refuses the work
 * before anything is written.
 */
async function withRun(
  folder: RunFolder,
  io: CampaignIo,
  work: (campaign: Campaign) => Promise<void>,
  check: (store: RunStore, config: Config) => void = () => undefined,
): Promise<RunFolder> {
  const lock = await acquireLock(folder.lockPath);
  try {
    await removePartialFiles(folder.path);
    await removePartialFiles(folder.checkpointsPath);
    const config = await loadRunConfig(folder);
    const store = await openStore(folder.databasePath);
    try {
      check(store, config);
    } catch (error) {
      store.close();
      throw error;
    }
    const before = await runStatus(folder, store);
    let isOpen = false;
    try {
      recordRunStatus(store, 'running');
      await withCampaign({ folder, config, store }, io, (campaign) => {
        isOpen = true;
        return work(campaign);
      });
      recordRunStatus(store, 'done');
      return folder;
    } catch (error) {
      recordFailure(store, error, before === 'done' && !isOpen);
      throw error;
    } finally {
      store.close();
    }
  } finally {
    await lock.release();
  }
}

/**
 * Records how a run ended. A full disk cannot record that either; the first error then gives the reason.
 * @param wasDone a finished run of which nothing could be opened now: it is still finished.
 */
function recordFailure(store: RunStore, error: unknown, wasDone: boolean): void {
  const ended = error instanceof FloodgateError && error.code === 'interrupted' ? 'interrupted' : 'failed';
  const status = wasDone ? 'done' : ended;
  const message = error instanceof Error ? error.message : String(error);
  try {
    recordRunStatus(store, status);
    store.recordEvent({ level: ended === 'failed' ? 'error' : 'info', code: ended, message });
  } catch (cause) {
    if (!(cause instanceof FloodgateError)) throw cause;
  }
}

async function withCampaign(
  parts: Pick<Campaign, 'folder' | 'config' | 'store'>,
  io: CampaignIo,
  work: (campaign: Campaign) => Promise<void>,
): Promise<void> {
  const world = await openRunWorld(parts.config, io);
  const seeds = await loadRunSeeds(parts.config, world);
  const campaign = await openCampaign({ ...parts, seeds, world }, io);
  try {
    await recordManifest(campaign);
    await work(campaign);
  } catch (error) {
    const isInterrupted = error instanceof FloodgateError && error.code === 'interrupted';
    throw isInterrupted ? (campaign.budgetSpent?.() ?? error) : error;
  } finally {
    await campaign.close();
  }
}

function manifestOf(campaign: Campaign): Manifest {
  const { folder, config, seeds, models, trainingJudge, evaluationJudges, compute, targetInt8 } = campaign;
  const { target, evaluation, attacker, encoder } = config;
  const device = targetDevice(target);
  return createManifest({
    run: folder.name,
    authorisation: config.authorisation,
    createdMs: nowMs(),
    versions: { floodgate: packageVersion(), 'onnxruntime-node': runtimeVersion() },
    seed: config.seed,
    threads: compute.threads,
    devices: {
      attacker: attacker.device,
      encoder: encoder.device,
      ...(device === undefined ? {} : { target: device }),
    },
    configSha256: configSha256(config),
    seedsSha256: seeds.sha256,
    models: [...models],
    ...(targetInt8 === undefined ? {} : { targetInt8 }),
    judges: { training: trainingJudge.name, evaluation: evaluationJudges.map(({ name }) => name) },
    decode: {
      training: { ...target.decode, responses: target.responses },
      evaluation: { ...target.decode, responses: evaluation.responses, attackerTemperature: evaluation.temperature },
    },
    unsafeFloor: config.reward.unsafeFloor,
  });
}

/** How a model differs from the one in the manifest, in words; empty where it does not, or was not known then. */
function changeOfModel(before: Manifest['models'], { role, sha256, filesSha256 }: ModelEntry): string[] {
  const old = before.find((entry) => entry.role === role);
  if (old === undefined) return [];
  if (old.sha256 !== sha256) return [`model of ${role}`];
  const areKnown = old.filesSha256 !== undefined && filesSha256 !== undefined;
  return areKnown && old.filesSha256 !== filesSha256 ? [`config or tokenizer of ${role}`] : [];
}

/** Writes the manifest of a new run. An existing one is kept, and changes since then are recorded as a warning. */
async function recordManifest(campaign: Campaign): Promise<void> {
  const { folder, models, store } = campaign;
  const manifest = manifestOf(campaign);
  if (!existsSync(folder.manifestPath)) {
    await writeManifest(folder.manifestPath, manifest);
    return;
  }
  const before = await readManifest(folder.manifestPath); // a damaged one is an error, never overwritten
  const changed = [
    ...models.flatMap((model) => changeOfModel(before.models, model)),
    ...(before.threads === manifest.threads ? [] : [`threads ${before.threads} -> ${manifest.threads}`]),
    ...(before.seedsSha256 === manifest.seedsSha256 ? [] : ['seed file']),
    ...Object.entries(manifest.versions)
      .filter(([name, version]) => before.versions[name] !== version)
      .map(([name]) => `version of ${name}`),
  ];
  if (changed.length === 0) return;
  store.recordEvent({
    level: 'warning',
    code: 'resumed-differently',
    message: `since the run began: ${changed.join(', ')}; it no longer repeats bit for bit`,
  });
}

/** Settings that decide what a run finds. Where it is asked is none of them. */
const withoutQueue = ({ queue: _queue, ...config }: Config): Config => config as Config;

/**
 * The run's folder, if it was begun with exactly this config and the same seeds, wherever their file is, and through
 * whatever queue. Undefined when there is no such folder.
 * @throws FloodgateError `run` when it was begun with another config: its figures would be taken for this one's.
 */
export async function sameRun(config: Config, runsFolder: string, name: string): Promise<RunFolder | undefined> {
  if (!existsSync(join(runsFolder, name))) return undefined;
  const folder = await openRunFolder(name, runsFolder);
  const { seedsSha256 } = existsSync(folder.manifestPath) ? await readManifest(folder.manifestPath) : {};
  const begun = await askedSha256(withoutQueue(await loadRunConfig(folder)), seedsSha256);
  if (begun === (await askedSha256(withoutQueue(config)))) return folder;
  throw new FloodgateError('run', `run ${name}: it was begun with other settings, got ${folder.path}`, {
    hint: 'choose another --runs-dir, or remove that folder and its measurements',
  });
}

/**
 * Runs the rest of a run, or a new one from its config. @throws FloodgateError `run` when it was begun with another.
 */
export async function finishRun(config: Config, runsFolder: string, name: string, io: CampaignIo): Promise<RunFolder> {
  const folder = await sameRun(config, runsFolder, name);
  if (folder === undefined) return startRun({ config, runsFolder, name, ifTaken: 'refuse' }, io);
  return resumeRun(folder, io);
}
