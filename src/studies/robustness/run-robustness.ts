import { join } from 'node:path';
import { makePrivateFolder, removePartialFiles } from '../../base/atomic-file.ts';
import { acquireLock } from '../../base/lock.ts';
import { countingJudgeOf } from '../../runs/manifest.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openStore, type RunStore } from '../../runs/store/run-store.ts';
import { transferStage } from '../../runs/store/stage-name.ts';
import type { WantedRun } from '../../stages/campaign/run-elsewhere.ts';
import { finishRuns, requireRunWorkers } from '../../stages/campaign/whole-runs.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { transferRun } from '../transfer/run-transfer.ts';
import type { NamedTarget } from '../transfer/transfer-config.ts';
import { planRobustness, type RobustnessPlan, type RobustnessStudy } from './plan-robustness.ts';
import { judgesOf, readEvaluation, readRetrained, wantedRetraining } from './retrain.ts';
import {
  BASE,
  ROBUSTNESS_PREFIX,
  ROBUSTNESS_VERSION,
  type Robustness,
  type RobustnessCell,
  readRobustness,
  recordRobustness,
  robustnessFolder,
  type TargetVersion,
  writeRobustness,
} from './robustness-file.ts';
import { describeVersions, type TunedModel, tuneOnEach, versionColumn } from './target-versions.ts';

/** The parts that the matrix is made with. */
interface Work {
  readonly folder: RunFolder;
  readonly study: RobustnessStudy;
  readonly earlier: Robustness | undefined;
  readonly successes: number;
  readonly tuned: readonly TunedModel[];
  readonly io: CampaignIo;
}

const targetName = (version: string): string => `${ROBUSTNESS_PREFIX}${version}`;

/**
 * Measures the success rate of every attacker of a run against every version of its target: the base, and one tuned on
 * the successes of each attacker. Stored attacks are replayed, and some attackers are retrained. Each version also shows
 * the requests that it refuses without need, and its utility. Cells that are there are kept: an interrupted matrix fills
 * its missing cells.
 *
 * @throws FloodgateError `run`, `usage` before any work as `planRobustness` says; `run` when another process uses the
 * run; `interrupted` on abort, nothing lost.
 */
export async function runRobustness(folder: RunFolder, plan: RobustnessPlan, io: CampaignIo): Promise<Robustness> {
  const study = await planRobustness(folder, plan);
  if (await isRetrainingLeft(folder, study)) await requireRunWorkers(study.config, io);
  await makePrivateFolder(robustnessFolder(folder));
  const lock = await acquireLock(join(robustnessFolder(folder), 'lock'));
  try {
    await removePartialFiles(robustnessFolder(folder));
    const earlier = await readRobustness(folder);
    // Fixed at the first start: targets that were tuned on more could not be compared.
    const successes = earlier?.successes ?? study.successes;
    if (earlier === undefined) await writeRobustness(folder, await emptyMatrix(folder, successes));
    const { overrides, data } = study;
    const nameOf = (stage: string): string => `robustness-${stage}`;
    const tuned = await tuneOnEach(folder, { stages: data, successes, overrides, nameOf }, io);
    return await fillMatrix({ folder, study, earlier, successes, tuned, io });
  } finally {
    await lock.release();
  }
}

async function isRetrainingLeft(folder: RunFolder, { data, retrain }: RobustnessStudy): Promise<boolean> {
  for (const stage of data) {
    for (const attacker of retrain)
      if ((await readRetrained({ runsFolder: join(robustnessFolder(folder), stage), attacker })) === undefined)
        return true;
  }
  return false;
}

async function emptyMatrix(folder: RunFolder, successes: number): Promise<Robustness> {
  const reportedJudge = await countingJudgeOf(folder);
  const lists = { attackers: [], retrained: [], targets: [], leftOut: [], cells: [] };
  return {
    robustnessVersion: ROBUSTNESS_VERSION,
    run: folder.name,
    status: 'running',
    reportedJudge,
    successes,
    ...lists,
  };
}

function transferTargets({ study, tuned }: Work): NamedTarget[] {
  const { config } = study;
  return [
    versionColumn(config, targetName(BASE)),
    ...tuned.map(({ stage, name }) => versionColumn(config, targetName(stage), `tuned:${name}`)),
  ];
}

function fillMatrix(work: Work): Promise<Robustness> {
  if (work.study.config.queue?.runs === true) return fillWithWorkers(work);
  return replayThenRetrain(work, (targets) => retrainAll(work, () => save(work, targets, 'running')));
}

/** Workers retrain attackers while this process replays attacks. The first of the two that fails stops the other. */
async function fillWithWorkers(work: Work): Promise<Robustness> {
  const stop = new AbortController();
  const signal = AbortSignal.any([work.io.signal, stop.signal]);
  const own = { ...work, io: { ...work.io, signal } };
  let describe: (targets: readonly TargetVersion[]) => void = () => undefined;
  const described = new Promise<readonly TargetVersion[]>((resolve, reject) => {
    describe = resolve;
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  let first: unknown;
  const fail = (error: unknown): void => {
    first ??= error;
    stop.abort();
  };
  described.catch(() => undefined);
  const retrained = retrainAll(own, async () => save(own, await described, 'running'));
  retrained.catch(fail);
  try {
    return await replayThenRetrain(own, (targets) => {
      describe(targets);
      return retrained;
    });
  } catch (error) {
    fail(error);
    await retrained.catch(() => undefined);
    throw first;
  }
}

async function replayThenRetrain(
  work: Work,
  retrained: (targets: readonly TargetVersion[]) => Promise<void>,
): Promise<Robustness> {
  const { folder, study, io } = work;
  await transferRun(folder, { targets: transferTargets(work), attackers: study.attackers, again: false }, io);
  // From here on nothing takes the run's lock by itself.
  const lock = await acquireLock(folder.lockPath);
  try {
    const targets = await describeTargets(work);
    await save(work, targets, 'running');
    await retrained(targets);
    return await save(work, targets, 'done');
  } finally {
    await lock.release();
  }
}

async function retrainAll({ folder, study, tuned, io }: Work, onDone: () => Promise<unknown>): Promise<void> {
  const { overrides, retrain } = study;
  const runs: WantedRun[] = [];
  for (const { stage, modelPath } of tuned) {
    for (const attacker of retrain) {
      const place = { runsFolder: join(robustnessFolder(folder), stage), attacker };
      const wanted = await wantedRetraining(folder, place, { modelPath, overrides });
      const note = `${attacker} against the target tuned on ${stage}`;
      if (wanted !== undefined) runs.push({ ...wanted, note });
    }
  }
  const idFolder = robustnessFolder(folder);
  await finishRuns({ label: 'retrain attackers', unit: 'attackers', runs, idFolder, finished: onDone }, io);
}

function describeTargets({ folder, study, earlier, tuned, io }: Work): Promise<TargetVersion[]> {
  return describeVersions(
    {
      config: study.config,
      folder: folder.path,
      baseModel: tuned[0]?.file.target.spec ?? '',
      tuned: tuned.map(({ stage, modelPath, file }) => ({ version: stage, modelPath, file })),
      known: earlier?.targets ?? [],
    },
    io,
  );
}

/** Names of earlier starts first: their cells stay in the matrix. */
const joined = <T>(before: readonly T[] | undefined, now: readonly T[]): T[] => [
  ...new Set([...(before ?? []), ...now]),
];

async function save(work: Work, now: readonly TargetVersion[], status: Robustness['status']): Promise<Robustness> {
  const { folder, study, earlier, successes } = work;
  const kept = earlier?.targets.filter(({ name }) => !now.some((target) => target.name === name)) ?? [];
  const targets = [...now, ...kept];
  const attackers = joined(earlier?.attackers, study.attackers);
  const retrained = joined(earlier?.retrained, study.retrain);
  const store = await openStore(folder.databasePath);
  try {
    const robustness: Robustness = {
      robustnessVersion: ROBUSTNESS_VERSION,
      run: folder.name,
      status,
      reportedJudge: await countingJudgeOf(folder),
      successes,
      attackers,
      retrained,
      targets,
      leftOut: [...study.leftOut],
      cells: [...replayedCells(store, attackers, targets), ...(await retrainedCells(folder, retrained, targets))],
    };
    await writeRobustness(folder, robustness);
    recordRobustness(store, robustness);
    return robustness;
  } finally {
    store.close();
  }
}

function replayedCells(
  store: RunStore,
  attackers: readonly string[],
  targets: readonly TargetVersion[],
): RobustnessCell[] {
  const done = new Set(store.stages().flatMap(({ name, status }) => (status === 'done' ? [name] : [])));
  return attackers.flatMap((attacker) =>
    targets.flatMap(({ name }): RobustnessCell[] => {
      const stage = transferStage({ attacker, target: targetName(name) });
      if (!done.has(stage)) return [];
      const judges = judgesOf(store.metrics(stage));
      return [{ attacker, target: name, how: 'replayed', status: 'done', isLearned: attacker === name, judges }];
    }),
  );
}

/** Against the base an attacker was trained in the run itself. */
async function retrainedCells(
  folder: RunFolder,
  attackers: readonly string[],
  targets: readonly TargetVersion[],
): Promise<RobustnessCell[]> {
  const cells: RobustnessCell[] = [];
  for (const attacker of attackers) {
    for (const { name } of targets) {
      const place = { runsFolder: join(robustnessFolder(folder), name), attacker };
      const found = name === BASE ? await readEvaluation(folder, attacker) : await readRetrained(place);
      if (found !== undefined) cells.push({ attacker, target: name, how: 'retrained', isLearned: false, ...found });
    }
  }
  return cells;
}
