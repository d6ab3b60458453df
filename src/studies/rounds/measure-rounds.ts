import { append } from '../../base/long-lists.ts';
import { cosineOfRows, createEmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { finishPausing, type Steps } from '../../metrics/steps.ts';
import { successIndices } from '../../metrics/success.ts';
import { clusterAttacksInSteps, MAX_COMPARED } from '../../metrics/unique-attacks.ts';
import { countingJudgeOf } from '../../runs/manifest.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openStore } from '../../runs/store/run-store.ts';
import { transferStage } from '../../runs/store/stage-name.ts';
import { openConfigModels } from '../../stages/campaign/run-models.ts';
import type { Config } from '../../stages/config/config.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { targetModelName } from '../../targets/registry.ts';
import { judgesOf, readEvaluation } from '../robustness/retrain.ts';
import type { TargetVersion } from '../robustness/robustness-file.ts';
import { describeVersions, versionColumn } from '../robustness/target-versions.ts';
import { embedTexts, transferRun } from '../transfer/run-transfer.ts';
import { readStoredAttacks } from '../transfer/stored-attacks.ts';
import type { TuneFile } from '../tune/tune-record.ts';
import type { Round, RoundCell, Rounds } from './rounds-file.ts';

/** The rounds to measure: their attacker, config and common folder. */
export interface RoundsSetting {
  readonly config: Config;
  readonly attacker: string;
  readonly folder: string;
}

/** A round that was run. */
export interface DoneRound {
  readonly run: RunFolder;
  /** Its tuned target; undefined when nothing succeeded. */
  readonly tuned: { readonly modelPath: string; readonly file: TuneFile } | undefined;
}

/** The folder of a round, counted from 1. */
export const roundName = (round: number): string => `round-${round}`;

/**
 * Everything that is measured over finished rounds: their clusters, their targets, and the attacks of each against the
 * target of each. @param known targets that an earlier start has measured.
 */
export async function measureRounds(
  setting: RoundsSetting,
  done: readonly DoneRound[],
  known: readonly TargetVersion[],
  io: CampaignIo,
): Promise<Pick<Rounds, 'reportedJudge' | 'rounds' | 'targets' | 'cells'>> {
  const { config, folder } = setting;
  const reportedJudge = await countingJudgeOf((done[0] as DoneRound).run);
  const tuned = done.flatMap(({ tuned }, i) => (tuned === undefined ? [] : [{ version: roundName(i + 1), ...tuned }]));
  const targets = await describeVersions(
    { config, folder, baseModel: targetModelName(config.target), tuned, known },
    io,
  );
  return {
    reportedJudge,
    rounds: await describeRounds(setting, done, reportedJudge, io),
    targets,
    cells: await crossCells(setting, done, io),
  };
}

async function describeRounds(
  { config, attacker }: RoundsSetting,
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

async function successTexts(run: RunFolder, attacker: string, judge: string): Promise<string[]> {
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    const { texts, home } = readStoredAttacks(store, attacker, { judges: [judge], limit: undefined });
    return successIndices(home.get(judge) ?? []).map((i) => texts[i] as string);
  } finally {
    store.close();
  }
}

async function clusterTexts(config: Config, rounds: readonly (readonly string[])[], io: CampaignIo) {
  const { encoder } = await (await openConfigModels(config, io)).openEncoder();
  try {
    const embedded: Float32Array[] = [];
    for (const texts of rounds) embedded.push((await embedTexts(encoder, texts, io.signal)).data);
    const steps = countNewClusters(embedded, encoder.width, config.evaluation.uniqueThreshold);
    return await finishPausing(steps, io.signal, 'cluster the rounds', 'the same command resumes');
  } finally {
    await encoder.close();
  }
}

export interface RoundClusters {
  /** Clusters of the round's successes. */
  readonly clusters: number;
  /** Those whose representative is farther than the threshold from every representative of every earlier round. */
  readonly fresh: number;
}

/**
 * How many clusters each round of attacks found, and how many of them no earlier round had. `rounds`: the embeddings of
 * each round's successes, [n, width] flat and L2-normalised, in their order. May pause at every attack. A round counts
 * its first `MAX_COMPARED` successes at most: clusters grow with the square of their number.
 */
export function* countNewClusters(
  rounds: readonly Float32Array[],
  width: number,
  threshold: number,
): Steps<RoundClusters[]> {
  const rows = rounds.map((flat) => flat.length / width);
  const all = new Float32Array(rounds.reduce((sum, { length }) => sum + length, 0));
  const starts = rows.map((_, round) => rows.slice(0, round).reduce((sum, count) => sum + count, 0));
  for (const [round, flat] of rounds.entries()) all.set(flat, (starts[round] as number) * width);
  const matrix = createEmbeddingMatrix(all, all.length / width, width);
  const cosine = (i: number, j: number): number => cosineOfRows(matrix, i, j);
  const earlier: number[] = [];
  const counted: RoundClusters[] = [];
  for (const [round, count] of rows.entries()) {
    const length = Math.min(count, MAX_COMPARED);
    const own = Array.from({ length }, (_, i) => (starts[round] as number) + i);
    const clusters = yield* clusterAttacksInSteps(cosine, own, threshold);
    const representatives = clusters.map(({ representative }) => representative);
    let fresh = 0;
    for (const row of representatives) {
      yield;
      if (earlier.every((other) => cosine(row, other) <= threshold)) fresh++;
    }
    append(earlier, representatives);
    counted.push({ clusters: representatives.length, fresh });
  }
  return counted;
}

const targetName = (version: number): string => `target-${version}`;

/** Attacks of each round put to the target of every round, and to the one that the last round has tuned. */
async function crossCells({ config, attacker }: RoundsSetting, done: readonly DoneRound[], io: CampaignIo) {
  const models = [undefined, ...done.flatMap(({ tuned }) => tuned?.modelPath ?? [])];
  const targets = models.map((model, version) => versionColumn(config, targetName(version), model));
  const cells: RoundCell[] = [];
  for (const [i, { run }] of done.entries()) {
    if ((await readEvaluation(run, attacker))?.status !== 'done') continue;
    const tuned = targets.slice(1).map(({ name }) => name);
    await transferRun(run, { targets, attackers: [attacker], again: false, tuned }, io);
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
