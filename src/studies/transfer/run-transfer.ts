import { removePartialFiles } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import type { Judge } from '../../judges/judge.ts';
import { createEmbeddingMatrix, type EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import type { SentenceEncoder } from '../../models/encoder/text-encoder.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openStore, type RunStore } from '../../runs/store/run-store.ts';
import { transferCellOf, transferStage } from '../../runs/store/stage-name.ts';
import { loadRunConfig } from '../../stages/campaign/config-load.ts';
import { openRunCalls, type RunCalls, withCalls } from '../../stages/campaign/run-calls.ts';
import type { RunModels } from '../../stages/campaign/run-models.ts';
import { openStudyModels } from '../../stages/campaign/study-models.ts';
import type { Config } from '../../stages/config/config.ts';
import { REPEATED_ANSWER } from '../../stages/evaluation/repeated-answer.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { type PlannedTransferTarget, planTargets } from './plan-targets.ts';
import { chooseAttackers, readStoredAttacks, type StoredAttacks } from './stored-attacks.ts';
import { recordTarget, storedTarget, targetDifferences } from './target-record.ts';
import { fillCell, isCellDone, keptBatches, TRANSFER_BATCH } from './transfer-cell.ts';
import type { NamedTarget } from './transfer-config.ts';

export interface TransferPlan {
  readonly targets: readonly NamedTarget[];
  /** All that were evaluated when absent. */
  readonly attackers?: readonly string[];
  /** At most so many of each attacker's stored attacks; all when absent. */
  readonly attacks?: number;
  /** Measure a target again that was measured otherwise under the same name; without it that is an error. */
  readonly again: boolean;
  /** Targets that were tuned to refuse, by name, beside those of a model `tuned:NAME`. */
  readonly tuned?: readonly string[];
}

export interface TransferOutcome {
  readonly attackers: readonly string[];
  readonly targets: readonly string[];
  /** Cells that this call filled, and cells of the plan. */
  readonly filled: number;
  readonly cells: number;
  /** Of the plan's cells, whenever they were filled. */
  readonly warnings: readonly string[];
}

/** The open parts that a matrix is filled with. */
export interface TransferParts {
  readonly run: string;
  readonly config: Config;
  readonly store: RunStore;
  readonly judges: readonly Judge[];
  readonly encoder: SentenceEncoder;
  readonly io: CampaignIo;
  /** Keeps and counts the calls of a target; as it is when absent. */
  readonly watchTarget?: RunCalls['target'];
}

/** Texts of one call of the encoder, so that memory stays small and the signal is heard. */
const EMBED_BATCH = 128;

/**
 * Puts the stored evaluation attacks of a run's attackers to further targets, and stores the results: a stage a cell.
 * Filled cells are kept, and an interrupted cell resumes. Holds the run's lock.
 * @throws FloodgateError `usage`, `run`, `source`, `model`, `target` before any work when a part of the plan cannot be
 * had; `interrupted` on abort and when the budget is spent. At most one batch is lost, and no answer of a target that
 * is asked elsewhere: the log of the run keeps them.
 */
export async function transferRun(folder: RunFolder, plan: TransferPlan, io: CampaignIo): Promise<TransferOutcome> {
  const lock = await acquireLock(folder.lockPath);
  try {
    await removePartialFiles(folder.path);
    const config = await loadRunConfig(folder);
    const store = await openStore(folder.databasePath);
    try {
      const attackers = chooseAttackers(store, folder.name, plan.attackers);
      const study = await openStudyModels(config, io, folder.path);
      try {
        const planned = await planTargets({ folder, ...study }, plan.targets, plan.tuned);
        return await fillWith({ folder, config, store, models: study.models }, { attackers, planned, plan }, io);
      } finally {
        await study.close();
      }
    } finally {
      store.close();
    }
  } finally {
    await lock.release();
  }
}

/** Fills the matrix with the judges and the encoder of the run, its calls kept and counted. */
async function fillWith(
  { folder, config, store, models }: FillParts,
  work: MatrixWork,
  io: CampaignIo,
): Promise<TransferOutcome> {
  const targets = work.planned.map((each) => each.config);
  const rest = (): string => restText(store, work);
  return withCalls(openRunCalls({ config, folder, store }, io, { targets, rest }), async (calls) =>
    withJudges(models, calls, async (judges, encoder) => {
      const { signal, progress, target: watchTarget } = calls;
      const parts = { run: folder.name, config, store, judges, encoder, watchTarget };
      return fillMatrix({ ...parts, io: { ...io, signal, progress } }, work);
    }),
  );
}

interface FillParts extends Pick<TransferParts, 'config' | 'store'> {
  readonly folder: RunFolder;
  readonly models: RunModels;
}

/** Calls that the missing cells still make, at most: answers of the batch in progress may be in the log. */
function restText(store: RunStore, { attackers, planned, plan }: MatrixWork): string {
  const sets = attackers.map((attacker) => readStoredAttacks(store, attacker, { judges: [], limit: plan.attacks }));
  const left = planned.flatMap(({ record: { name, responses } }) =>
    sets.map(({ attacker, texts }) => {
      const kept = keptBatches(store, transferStage({ attacker, target: name }), texts) * TRANSFER_BATCH;
      return responses * Math.max(0, texts.length - kept);
    }),
  );
  const calls = left.reduce((sum, each) => sum + each, 0);
  return `the rest of the transfer asks its targets at most ${calls.toLocaleString('en-US')} times`;
}

/** Opens every judge and the encoder for `work`, and closes them after it. */
async function withJudges<T>(
  models: RunModels,
  calls: RunCalls,
  work: (judges: readonly Judge[], encoder: SentenceEncoder) => Promise<T>,
): Promise<T> {
  const judges = await models.openJudges(calls.judge);
  try {
    const { encoder } = await models.openEncoder();
    try {
      return await work(judges, encoder);
    } finally {
      await encoder.close();
    }
  } finally {
    for (const judge of judges) await judge.close();
  }
}

/** @throws FloodgateError `usage` when a name belongs to a target that was measured otherwise. */
function refuseOtherTargets(
  { run, store }: TransferParts,
  planned: readonly PlannedTransferTarget[],
  again: boolean,
): void {
  if (again) return;
  for (const { record } of planned) {
    const before = storedTarget(store, record.name);
    const changed = before === undefined ? [] : targetDifferences(before, record);
    if (changed.length === 0) continue;
    throw new FloodgateError(
      'usage',
      `transfer ${run}: target ${record.name} was measured with another ${changed.join(', ')}`,
      { hint: 'give the new one another name, or measure it again with --again' },
    );
  }
}

/**
 * Embeddings of the texts [n, width], in batches that keep memory small.
 * @throws FloodgateError `interrupted` between batches, when `signal` was aborted.
 */
export async function embedTexts(
  encoder: SentenceEncoder,
  texts: readonly string[],
  signal: AbortSignal,
): Promise<EmbeddingMatrix> {
  const flat = new Float32Array(texts.length * encoder.width);
  for (let first = 0; first < texts.length; first += EMBED_BATCH) {
    const batch = texts.slice(first, first + EMBED_BATCH);
    if (signal.aborted) throw new FloodgateError('interrupted', 'embed attacks: interrupted, every attack is kept');
    flat.set(await encoder.embed(batch, signal), first * encoder.width);
  }
  return createEmbeddingMatrix(flat, texts.length, encoder.width);
}

/** Empties the cells of a target that was measured otherwise under the same name. */
function forgetOther(store: RunStore, { record }: PlannedTransferTarget): void {
  const before = storedTarget(store, record.name);
  if (before === undefined || targetDifferences(before, record).length === 0) return;
  store.keepsCalls({ target: false, judges: new Set() }); // the log has answers of the other target
  for (const { name } of store.stages()) {
    if (transferCellOf(name)?.target !== record.name) continue;
    store.truncateAfter(name, -1);
    store.endStage(name, 'interrupted');
  }
}

/** A target and the attackers whose cells are not filled. */
interface Column {
  readonly target: PlannedTransferTarget;
  readonly missing: readonly StoredAttacks[];
}

function columnOf(store: RunStore, target: PlannedTransferTarget, sets: readonly StoredAttacks[]): Column {
  const before = storedTarget(store, target.record.name);
  const isSame = before !== undefined && targetDifferences(before, target.record).length === 0;
  const isDone = ({ attacker, texts }: StoredAttacks): boolean =>
    isSame && isCellDone(store, transferStage({ attacker, target: target.record.name }), texts);
  return { target, missing: sets.filter((set) => !isDone(set)) };
}

/** Attacks of the whole matrix that are done, however many targets they went to. */
interface MatrixProgress {
  finished: number;
  update(ofCell: number, note: string): void;
}

/** Fills the missing cells of one target; its model is open no longer than that. */
async function fillColumn(
  parts: TransferParts,
  { target, missing }: Column,
  progress: MatrixProgress,
  embed: (set: StoredAttacks) => Promise<EmbeddingMatrix>,
): Promise<void> {
  const { store, judges, config, io } = parts;
  if (io.signal.aborted) throw new FloodgateError('interrupted', 'transfer: interrupted; the stored batches are kept');
  forgetOther(store, target);
  const unwatched = await target.open(missing[0]?.texts ?? []);
  const { record } = unwatched;
  const watched = parts.watchTarget?.(unwatched.target, target.config, record) ?? unwatched.target;
  const opened = { ...unwatched, target: watched };
  try {
    recordTarget(store, record);
    for (const attacks of missing) {
      const { attacker, texts } = attacks;
      const cell = { attacker, target: opened.record.name };
      const note = `${attacker} -> ${cell.target}`;
      const kept = keptBatches(store, transferStage(cell), texts) * TRANSFER_BATCH;
      progress.update(Math.min(kept, texts.length), note);
      await fillCell({
        store,
        attacks,
        embeddings: await embed(attacks),
        opened,
        judges,
        seed: config.seed,
        threshold: config.evaluation.uniqueThreshold,
        signal: io.signal,
        isTuned: target.isTuned,
        onAttacks: (done) => progress.update(done, note),
      });
      progress.finished += texts.length;
    }
  } finally {
    await opened.close();
  }
}

export interface MatrixWork {
  readonly attackers: readonly string[];
  readonly planned: readonly PlannedTransferTarget[];
  readonly plan: Pick<TransferPlan, 'attacks' | 'again'>;
}

/** Fills the missing cells, target by target, so that each model is opened once and only when it is needed. */
export async function fillMatrix(
  parts: TransferParts,
  { attackers, planned, plan }: MatrixWork,
): Promise<TransferOutcome> {
  const { store, judges, encoder, io } = parts;
  refuseOtherTargets(parts, planned, plan.again);
  const names = judges.map(({ name }) => name);
  const sets = attackers.map((attacker) => readStoredAttacks(store, attacker, { judges: names, limit: plan.attacks }));
  const columns = planned.map((target) => columnOf(store, target, sets));
  const missing = columns.flatMap((column) => column.missing);
  const bar = io.progress.start(
    'transfer',
    missing.reduce((sum, { texts }) => sum + texts.length, 0),
    'attacks',
  );
  const progress: MatrixProgress = {
    finished: 0,
    update: (ofCell, note) => bar.update(progress.finished + ofCell, note),
  };
  const known = new Map<string, EmbeddingMatrix>();
  const embed = async ({ attacker, texts }: StoredAttacks): Promise<EmbeddingMatrix> => {
    const embeddings = known.get(attacker) ?? (await embedTexts(encoder, texts, io.signal));
    known.set(attacker, embeddings);
    return embeddings;
  };
  try {
    for (const column of columns) {
      if (column.missing.length > 0) await fillColumn(parts, column, progress, embed);
    }
  } finally {
    bar.finish();
  }
  const targets = planned.map(({ record }) => record.name);
  const warnings = warningsOf(store, attackers, targets);
  return { attackers, targets, filled: missing.length, cells: columns.length * sets.length, warnings };
}

/** The warnings of these cells, in the order in which they were stored. */
function warningsOf(store: RunStore, attackers: readonly string[], targets: readonly string[]): string[] {
  return store.events().flatMap(({ stage = '', code, message }) => {
    const cell = transferCellOf(stage);
    const isOfPlan = cell !== undefined && attackers.includes(cell.attacker) && targets.includes(cell.target);
    return isOfPlan && code === REPEATED_ANSWER ? [message] : [];
  });
}
