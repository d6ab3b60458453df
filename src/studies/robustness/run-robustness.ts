import { mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openStore, type RunStore } from '../../runs/store/run-store.ts';
import { transferStage } from '../../runs/store/stage-name.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { countingJudge } from '../../stages/campaign/finish-run.ts';
import type { AttackerName } from '../../stages/config/attacker-names.ts';
import { transferRun } from '../transfer/run-transfer.ts';
import type { NamedTarget } from '../transfer/transfer-config.ts';
import { askedAsEvaluated, measureUtilities, overRefusalOf, type TunedModel, tuneOnEach } from './target-versions.ts';
import { planRobustness, type RobustnessPlan, type RobustnessStudy } from './plan-robustness.ts';
import { judgesOf, readEvaluation, readRetrained, retrain } from './retrain.ts';
import { BASE, ROBUSTNESS_PREFIX, ROBUSTNESS_VERSION, type Robustness, type RobustnessCell, readRobustness, recordRobustness, robustnessFolder, type TargetVersion, writeRobustness } from './robustness-file.ts';

/** Everything that the matrix is made with. */
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
 * Measures how far every attacker of a run gets against every version of its target: the base, and one tuned on the
 * successes of each attacker; by replaying stored attacks, and by training attackers again. Beside it stands what each
 * version refuses without need, and what it is still good for. What is there already is kept: a matrix that was stopped
 * fills its missing cells only.
 *
 * @throws FloodgateError `run`, `usage` before any work as `planRobustness` says; `run` when another process uses the
 * run; `interrupted` on abort, nothing lost.
 */
export async function runRobustness(folder: RunFolder, plan: RobustnessPlan, io: CampaignIo): Promise<Robustness> {
  const study = await planRobustness(folder, plan);
  await mkdir(robustnessFolder(folder), { recursive: true });
  const lock = await acquireLock(join(robustnessFolder(folder), 'lock'));
  try {
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

async function emptyMatrix(folder: RunFolder, successes: number): Promise<Robustness> {
  const reportedJudge = await countingJudge(folder);
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
  const asked = askedAsEvaluated(study.config);
  return [
    { ...asked, name: targetName(BASE) },
    ...tuned.map(({ stage, name }): NamedTarget => ({ ...asked, name: targetName(stage), model: `tuned:${name}` })),
  ];
}

async function fillMatrix(work: Work): Promise<Robustness> {
  const { folder, study, io } = work;
  await transferRun(folder, { targets: transferTargets(work), attackers: study.attackers, again: false }, io);
  // From here on nothing takes the run's lock by itself.
  const lock = await acquireLock(folder.lockPath);
  try {
    const targets = await describeTargets(work);
    await save(work, targets, 'running');
    await retrainAll(work, () => save(work, targets, 'running'));
    return await save(work, targets, 'done');
  } finally {
    await lock.release();
  }
}

async function retrainAll({ folder, study, tuned, io }: Work, onDone: () => Promise<unknown>): Promise<void> {
  const missing = tuned.flatMap((model) => study.retrain.map((attacker) => ({ model, attacker })));
  const bar = io.progress.start('train attackers again', missing.length, 'attackers');
  try {
    for (const [done, { model, attacker }] of missing.entries()) {
      if (io.signal.aborted) throw new FloodgateError('interrupted', 'robustness: interrupted; what is done is kept');
      bar.update(done, `${attacker} against the target tuned on ${model.stage}`);
      const place = { runsFolder: join(robustnessFolder(folder), model.stage), attacker };
      await retrain(folder, place, { modelPath: model.modelPath, overrides: study.overrides }, io);
      await onDone();
    }
    bar.update(missing.length);
  } finally {
    bar.finish();
  }
}

/** What every version of the target refuses without need, and what it is still good for. */
async function describeTargets({ folder, study, earlier, tuned, io }: Work): Promise<TargetVersion[]> {
  const knownOf = (name: string) => earlier?.targets.find((target) => target.name === name);
  const requests = [
    { name: BASE, modelPath: undefined, known: knownOf(BASE) },
    ...tuned.map(({ stage, modelPath }) => ({ name: stage, modelPath, known: knownOf(stage) })),
  ];
  const [base, ...others] = await measureUtilities(study.config, requests, io);
  const model = tuned[0]?.file.target.spec ?? '';
  const untuned = overRefusalOf(tuned[0]?.file.check?.before);
  const first: TargetVersion = {
    name: BASE,
    model,
    successes: null,
    overRefusal: untuned,
    warnings: [],
    ...(base as NonNullable<typeof base>),
  };
  const rest = tuned.map(
    ({ stage, modelPath, file }, i): TargetVersion => ({
      name: stage,
      model: relative(folder.path, modelPath),
      successes: file.counts?.used ?? 0,
      overRefusal: overRefusalOf(file.check?.after),
      warnings: [...file.warnings],
      ...(others[i] as NonNullable<(typeof others)[number]>),
    }),
  );
  return [first, ...rest];
}

/** Names of earlier starts first: what was measured once stays in the matrix. */
const joined = <T>(before: readonly T[] | undefined, now: readonly T[]): T[] => [
  ...new Set([...(before ?? []), ...now]),
];

async function save(work: Work, now: readonly TargetVersion[], status: Robustness['status']): Promise<Robustness> {
  const { folder, study, earlier, successes } = work;
  const kept = earlier?.targets.filter(({ name }) => !now.some((target) => target.name === name)) ?? [];
  const targets = [...now, ...kept];
  const attackers = joined(earlier?.attackers, study.attackers) as AttackerName[];
  const retrained = joined(earlier?.retrained, study.retrain) as AttackerName[];
  const store = await openStore(folder.databasePath);
  try {
    const robustness: Robustness = {
      robustnessVersion: ROBUSTNESS_VERSION,
      run: folder.name,
      status,
      reportedJudge: await countingJudge(folder),
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
  attackers: readonly AttackerName[],
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
  attackers: readonly AttackerName[],
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
