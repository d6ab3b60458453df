import { join, relative } from 'node:path';
import { makePrivateFolder, removePartialFiles } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import { openRunFolder, type RunFolder } from '../../runs/run-folder.ts';
import { askedSha256, loadConfig } from '../../stages/campaign/config-load.ts';
import { finishRun } from '../../stages/campaign/run-campaign.ts';
import { finishRuns } from '../../stages/campaign/whole-runs.ts';
import type { Config } from '../../stages/config/config.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { isTunable } from '../../targets/registry.ts';
import { isMadeWorld } from '../../worlds/world-registry.ts';
import { againstModel, readEvaluation, readRetrained } from '../robustness/retrain.ts';
import { TUNABLE_REMEDY, WORLD_TUNING } from '../robustness/target-versions.ts';
import { tuneRun } from '../tune/tune-run.ts';
import { notTunable } from '../tune/tune-subject.ts';
import { type DoneRound, measureRounds, type RoundsSetting, roundName } from './measure-rounds.ts';
import { ROUNDS_VERSION, type Rounds, readRounds, writeRounds } from './rounds-file.ts';

/**
 * Rounds to run. The config is that of every round: its attackers are narrowed to the one, its target's model is replaced
 * from round 2 on. The folder holds `round-1`, `round-2`, ... and `rounds.json`.
 */
export interface RoundsPlan extends RoundsSetting {
  readonly rounds: number;
}

/**
 * The config of rounds: in a synthetic world its tuning has a world's own defaults, below what file and overrides say.
 * @throws FloodgateError `config` as `loadConfig`.
 */
export async function loadRoundsConfig(path: string, overrides: readonly string[] = []): Promise<Config> {
  const written = await loadConfig(path, overrides);
  return isMadeWorld(written.world) ? loadConfig(path, [...WORLD_TUNING, ...overrides]) : written;
}

/** @throws FloodgateError `usage` when the folder holds rounds of another config or attacker. */
function refuseOther(earlier: Rounds | undefined, { folder, attacker }: RoundsPlan, sha256: string): void {
  if (earlier === undefined || (earlier.configSha256 === sha256 && earlier.attacker === attacker)) return;
  const what = earlier.attacker === attacker ? 'config' : `attacker (${earlier.attacker})`;
  throw new FloodgateError('usage', `rounds: ${folder} was begun with another ${what}`, {
    hint: 'choose another --name',
  });
}

/**
 * Attacks a target, tunes it on the attacks that succeeded, and trains a new attacker against the tuned target, round
 * after round (Active Attacks, arXiv 2509.21947). Every round is a run of its own whose attacker is trained from scratch,
 * by the same seed. Ends early when a round finds nothing. Resumes when interrupted; a later call may ask for more rounds.
 *
 * @throws FloodgateError `usage` for a target that cannot be tuned, or a folder that was begun otherwise; `run` when
 * another process runs them; `interrupted` on abort, nothing lost.
 */
export async function runRounds(plan: RoundsPlan, io: CampaignIo): Promise<Rounds> {
  const { config, attacker, folder } = plan;
  if (!isTunable(config.target)) throw notTunable('rounds', config.target, TUNABLE_REMEDY);
  const { queue: _queue, ...settings } = config; // who asks is no setting of the rounds
  const sha256 = await askedSha256({ ...settings, attackers: [attacker] } as Config);
  await makePrivateFolder(folder);
  const lock = await acquireLock(join(folder, 'lock'));
  try {
    await removePartialFiles(folder);
    const earlier = await readRounds(folder);
    refuseOther(earlier, plan, sha256);
    const begun: Rounds = {
      roundsVersion: ROUNDS_VERSION,
      status: 'running',
      attacker,
      configSha256: sha256,
      reportedJudge: null,
      rounds: [],
      targets: [],
      cells: [],
    };
    await writeRounds(folder, { ...(earlier ?? begun), status: 'running' });
    const done = await attackAndTune(plan, io);
    const measured = await measureRounds(plan, done, earlier?.targets ?? [], io);
    const rounds: Rounds = { ...begun, status: 'done', ...measured };
    await writeRounds(folder, rounds);
    return rounds;
  } finally {
    await lock.release();
  }
}

async function attackAndTune(plan: RoundsPlan, io: CampaignIo): Promise<DoneRound[]> {
  const { attacker, folder } = plan;
  const done: DoneRound[] = [];
  const bar = io.progress.start('rounds', plan.rounds, 'rounds');
  try {
    for (let round = 1; round <= plan.rounds; round++) {
      if (io.signal.aborted) throw new FloodgateError('interrupted', `rounds: interrupted before round ${round}`);
      bar.update(round - 1, `round ${round}`);
      const run = await runRound(plan, roundName(round), done.at(-1)?.tuned?.modelPath, io);
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

/** The run of a round, finished. @param model that the round before has tuned; undefined for the config's own. */
async function runRound(
  { config, attacker, folder }: RoundsPlan,
  name: string,
  model: string | undefined,
  io: CampaignIo,
): Promise<RunFolder> {
  if ((await readRetrained({ runsFolder: folder, attacker }, name)) !== undefined) return openRunFolder(name, folder);
  const narrowed = { ...config, attackers: [attacker] };
  const own = model === undefined ? narrowed : againstModel(narrowed, model);
  if (config.queue?.runs !== true) return finishRun(own, folder, name, io);
  const wanted = { config: own, runsFolder: folder, name, note: name };
  const runs = [model === undefined ? wanted : { ...wanted, modelPath: model }];
  const [run] = await finishRuns({ label: 'attack', unit: 'runs', runs, idFolder: folder }, io);
  return run as RunFolder;
}

async function tuneRound(run: RunFolder, attacker: string, io: CampaignIo): Promise<DoneRound['tuned']> {
  const evaluated = await readEvaluation(run, attacker);
  if (evaluated?.status !== 'done') return undefined; // smoothing had nothing to learn from
  const outcome = await tuneRun({ folder: run, stage: attacker, name: 'tuned' }, io);
  if (outcome.kind === 'nothing') return undefined;
  return { modelPath: join(run.path, outcome.file.paths.model), file: outcome.file };
}
