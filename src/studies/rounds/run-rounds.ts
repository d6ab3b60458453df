import { mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import { successIndices } from '../../metrics/success.ts';
import { openRunFolder, type RunFolder } from '../../runs/run-folder.ts';
import { openStore } from '../../runs/store/run-store.ts';
import { transferStage } from '../../runs/store/stage-name.ts';
import type { Config } from '../../stages/campaign/config-schema.ts';
import { countingJudge, finishRun } from '../../stages/campaign/finish-run.ts';
import { askedSha256 } from '../../stages/config/asked-config.ts';
import type { AttackerName } from '../../stages/config/attacker-names.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { judgesOf, readEvaluation, readRetrained } from '../robustness/retrain.ts';
import { BASE, type TargetVersion } from '../robustness/robustness-file.ts';
import { askedAsEvaluated, measureUtilities, overRefusalOf } from '../robustness/target-versions.ts';
import { embedTexts, transferRun } from '../transfer/run-transfer.ts';
import { readStoredAttacks } from '../transfer/stored-attacks.ts';
import type { NamedTarget } from '../transfer/transfer-config.ts';
import type { TuneFile } from '../tune/tune-record.ts';
import { tuneRun } from '../tune/tune-run.ts';
import { openTuneEncoder, openTuneModels } from '../tune/tune-subject.ts';
import { countNewClusters } from './measure-rounds.ts';
import { ROUNDS_VERSION, type Round, type RoundCell, type Rounds, readRounds, writeRounds } from './rounds-file.ts';

export interface RoundsPlan {
  /** Of every round; its attackers are narrowed to the one, its target's model is replaced from round 2 on. */
  readonly config: Config;
  readonly attacker: AttackerName;
  readonly rounds: number;
  /** Holds `round-1`, `round-2`, ... and `rounds.json`. */
  readonly folder: string;
}

/** A round that was run. */
interface DoneRound {
  readonly run: RunFolder;
  /** Its tuned target; undefined when nothing succeeded. */
  readonly tuned: { readonly modelPath: string; readonly file: TuneFile } | undefined;
}

const roundName = (round: number): string => `round-${round}`;

/** @throws FloodgateError `usage` when the folder holds rounds of another config or attacker. */
function refuseOther(earlier: Rounds | undefined, { folder, attacker }: RoundsPlan, sha256: string): void {
  if (earlier === undefined || (earlier.configSha256 === sha256 && earlier.attacker === attacker)) return;
  const what = earlier.attacker === attacker ? 'config' : `attacker (${earlier.attacker})`;
  throw new FloodgateError('usage', `rounds: ${folder} was begun with another ${what}`, {
    hint: 'choose another --name',
  });
}

/**
 * Attacks a target, tunes it on what succeeded, and lets a new attacker loose on the tuned target, round after round
 * (Active Attacks, arXiv 2509.21947). Every round is a run of its own whose attacker starts anew, from the same
 * seed. Ends early when a round finds nothing. Goes on where it stopped; more rounds may be asked for later.
 *
 * @throws FloodgateError `usage` for a scripted target or a folder that was begun otherwise; `run` when another process
 * runs them; `interrupted` on abort, nothing lost.
 */
export async function runRounds(plan: RoundsPlan, io: CampaignIo): Promise<Rounds> {
  askedAsEvaluated(plan.config);
  const sha256 = await askedSha256({ ...plan.config, attackers: [plan.attacker] });
  await mkdir(plan.folder, { recursive: true });
  const lock = await acquireLock(join(plan.folder, 'lock'));
  try {
    const earlier = await readRounds(plan.folder);
    refuseOther(earlier, plan, sha256);
    const begun: Rounds = {
      roundsVersion: ROUNDS_VERSION,
      status: 'running',
      attacker: plan.attacker,
      configSha256: sha256,
      reportedJudge: null,
      rounds: [],
      targets: [],
      cells: [],
    };
    await writeRounds(plan.folder, { ...(earlier ?? begun), status: 'running' });
    const done = await attackAndTune(plan, io);
    const rounds = await measureRounds(plan, done, { begun, known: earlier?.targets ?? [] }, io);
    await writeRounds(plan.folder, rounds);
    return rounds;
  } finally {
    await lock.release();
  }
}

async function attackAndTune(plan: RoundsPlan, io: CampaignIo): Promise<DoneRound[]> {
  const done: DoneRound[] = [];
  const bar = io.progress.start('rounds', plan.rounds, 'rounds');
  try {
    for (let round = 1; round <= plan.rounds; round++) {
      if (io.signal.aborted) throw new FloodgateError('interrupted', `rounds: interrupted before round ${round}`);
      bar.update(round - 1, `round ${round}`);
      const { config, attacker, folder } = plan;
      const model = done.at(-1)?.tuned?.modelPath;
      const run = await runRound({ ...config, attackers: [attacker] }, model, { plan, round }, io);
      const tuned = await tuneRound(run, attacker, io);
      done.push({ run, tuned });
      if (tuned === undefined) break;
      bar.update(round, `${relative(folder, run.path)} done`);
    }
    return done;
  } finally {
    bar.finish();
  }
}

async function runRound(
  config: Config,
  model: string | undefined,
  { plan, round }: { readonly plan: RoundsPlan; readonly round: number },
  io: CampaignIo,
): Promise<RunFolder> {
  const { folder, attacker } = plan;
  const name = roundName(round);
  const place = { runsFolder: folder, attacker };
  if ((await readRetrained(place, name)) !== undefined) return openRunFolder(name, folder);
  const target = config.target.kind === 'local' && model !== undefined ? { ...config.target, model } : config.target;
  return finishRun({ ...config, target }, folder, name, io);
}

async function tuneRound(run: RunFolder, attacker: AttackerName, io: CampaignIo): Promise<DoneRound['tuned']> {
  const evaluated = await readEvaluation(run, attacker);
  if (evaluated?.status !== 'done') return undefined; // smoothing had nothing to learn from
  const outcome = await tuneRun({ folder: run, stage: attacker, name: 'tuned' }, io);
  if (outcome.kind === 'nothing') return undefined;
  return { modelPath: join(run.path, outcome.file.paths.model), file: outcome.file };
}

async function measureRounds(
  plan: RoundsPlan,
  done: readonly DoneRound[],
  { begun, known }: { readonly begun: Rounds; readonly known: readonly TargetVersion[] },
  io: CampaignIo,
): Promise<Rounds> {
  const reportedJudge = await countingJudge((done[0] as DoneRound).run);
  const targets = await describeTargets(plan, done, known, io);
  return {
    ...begun,
    status: 'done',
    reportedJudge,
    rounds: await describeRounds(plan, done, reportedJudge, io),
    targets,
    cells: await crossCells(plan, done, io),
  };
}

async function describeTargets(
  { config, folder }: RoundsPlan,
  done: readonly DoneRound[],
  known: readonly TargetVersion[],
  io: CampaignIo,
): Promise<TargetVersion[]> {
  const tuned = done.flatMap(({ tuned }) => tuned ?? []);
  const versions = [
    { name: BASE, modelPath: undefined, file: undefined, check: tuned[0]?.file.check?.before },
    ...tuned.map(({ modelPath, file }, i) => ({ name: roundName(i + 1), modelPath, file, check: file.check?.after })),
  ];
  const requests = versions.map(({ name, modelPath }) => ({
    name,
    modelPath,
    known: known.find((target) => target.name === name),
  }));
  const measured = await measureUtilities(config, requests, io);
  return versions.map(({ name, modelPath, file, check }, i) => ({
    name,
    model: modelPath === undefined ? modelOf(config) : relative(folder, modelPath),
    successes: file?.counts?.used ?? null,
    overRefusal: overRefusalOf(check),
    warnings: [...(file?.warnings ?? [])],
    ...(measured[i] as NonNullable<(typeof measured)[number]>),
  }));
}

const modelOf = ({ target }: Config): string => (target.kind === 'local' ? target.model : 'scripted');

async function describeRounds(
  { config, attacker }: RoundsPlan,
  done: readonly DoneRound[],
  judge: string,
  io: CampaignIo,
): Promise<Round[]> {
  const successes = await Promise.all(done.map(({ run }) => successTexts(run, attacker, judge)));
  const clusters = await clusterTexts(config, successes, io);
  const rounds: Round[] = [];
  for (const [i, { run, tuned }] of done.entries()) {
    const { clusters: all = 0, fresh = 0 } = clusters[i] ?? {};
    const judges = (await readEvaluation(run, attacker))?.judges ?? [];
    const status = tuned === undefined ? 'nothing-found' : 'done';
    rounds.push({ round: i + 1, status, judges, clusters: all, newClusters: fresh });
  }
  return rounds;
}

async function successTexts(run: RunFolder, attacker: AttackerName, judge: string): Promise<string[]> {
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    const { texts, home } = readStoredAttacks(store, attacker, { judges: [judge], limit: undefined });
    return successIndices(home.get(judge) ?? []).map((i) => texts[i] as string);
  } finally {
    store.close();
  }
}

async function clusterTexts(config: Config, rounds: readonly (readonly string[])[], io: CampaignIo) {
  const models = await openTuneModels(config, io);
  const { encoder } = await openTuneEncoder(config, models);
  try {
    const embedded: Float32Array[] = [];
    for (const texts of rounds) embedded.push((await embedTexts(encoder, texts)).data);
    return countNewClusters(embedded, encoder.width, config.evaluation.uniqueThreshold);
  } finally {
    await encoder.close();
  }
}

const targetName = (version: number): string => `target-${version}`;

/** Attacks of each round put to the target of every round, and to the one that the last round has left. */
async function crossCells({ config, attacker }: RoundsPlan, done: readonly DoneRound[], io: CampaignIo) {
  const asked = askedAsEvaluated(config);
  const models = [modelOf(config), ...done.flatMap(({ tuned }) => tuned?.modelPath ?? [])];
  const targets = models.map((model, version): NamedTarget => ({ ...asked, name: targetName(version), model }));
  const cells: RoundCell[] = [];
  for (const [i, { run }] of done.entries()) {
    if ((await readEvaluation(run, attacker))?.status !== 'done') continue;
    await transferRun(run, { targets, attackers: [attacker], again: false }, io);
    const store = await openStore(run.databasePath, { readOnly: true });
    try {
      for (const version of targets.keys()) {
        const judges = judgesOf(store.metrics(transferStage({ attacker, target: targetName(version) })));
        cells.push({ attacks: i + 1, target: version, isLearned: version >= i + 1, judges });
      }
    } finally {
      store.close();
    }
  }
  return cells;
}
