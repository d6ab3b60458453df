import { monotonicMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import type { Judge } from '../../judges/judge.ts';
import type { EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { wilsonInterval } from '../../metrics/intervals.ts';
import { type Measure, pointMeasure } from '../../metrics/measure.ts';
import { finishPausing, mapInSteps, type Steps } from '../../metrics/steps.ts';
import { type AttackOutcome, attackSuccess, isSuccess, successIndices } from '../../metrics/success.ts';
import { uniqueAttacksAtSizeInSteps } from '../../metrics/unique-attacks.ts';
import type { AttackRow, EventRecord, MetricRecord } from '../../runs/store/records.ts';
import type { RunStore } from '../../runs/store/run-store.ts';
import { transferStage } from '../../runs/store/stage-name.ts';
import { outcomeBy } from '../../stages/evaluation/evaluation-plan.ts';
import { repeatedCell } from '../../stages/evaluation/repeated-answer.ts';
import { measuredMetric, plainMetric } from '../../stages/metric-records.ts';
import type { TargetRequest } from '../../targets/target.ts';
import { type Evidence, meanUnsafeOf } from '../../trial/evidence.ts';
import { createLedger } from '../../trial/ledger.ts';
import { createTrial, type JudgeSeat } from '../../trial/trial.ts';
import type { OpenTransferTarget } from './plan-targets.ts';
import type { StoredAttacks } from './stored-attacks.ts';

/** Attacks of one stored batch: a kill costs at most so many. */
export const TRANSFER_BATCH = 32;

export interface CellWork {
  readonly store: RunStore;
  readonly attacks: StoredAttacks;
  readonly embeddings: EmbeddingMatrix;
  readonly opened: OpenTransferTarget;
  /** The training judge first, each name once. */
  readonly judges: readonly Judge[];
  readonly seed: number;
  readonly threshold: number;
  readonly signal: AbortSignal;
  /** The target was tuned to refuse: one refusal for all attacks is no sign of damage. */
  readonly isTuned: boolean;
  /** Told after each batch how many attacks of the cell are done. */
  readonly onAttacks: (done: number) => void;
}

function batchOf(texts: readonly string[], batch: number): readonly string[] {
  return texts.slice(batch * TRANSFER_BATCH, (batch + 1) * TRANSFER_BATCH);
}

/** Leading batches of a cell that hold just these attacks; the rest is missing, or was made from others. */
export function keptBatches(store: RunStore, stage: string, texts: readonly string[]): number {
  if (!store.stages().some(({ name }) => name === stage)) return 0;
  const stored = new Map<number, string[]>();
  for (const { update, text } of store.attacks({ stage })) stored.set(update, [...(stored.get(update) ?? []), text]);
  const batches = Math.ceil(texts.length / TRANSFER_BATCH);
  let kept = 0;
  while (kept < batches && JSON.stringify(stored.get(kept)) === JSON.stringify(batchOf(texts, kept))) kept++;
  return kept;
}

/** True when nothing of the cell is missing: it may hold more attacks than are asked for now. */
export function isCellDone(store: RunStore, stage: string, texts: readonly string[]): boolean {
  const isDone = store.stages().some(({ name, status }) => name === stage && status === 'done');
  if (!isDone) return false;
  const stored = store.attacks({ stage, limit: texts.length });
  return stored.length === texts.length && stored.every(({ text }, i) => text === texts[i]);
}

async function askBatch(work: CellWork, stage: string, batch: number, seats: readonly JudgeSeat[]): Promise<void> {
  const { store, attacks, opened, signal } = work;
  const started = monotonicMs();
  const ledger = createLedger();
  const first = batch * TRANSFER_BATCH;
  const { decode, responses } = opened.record;
  const requests = batchOf(attacks.texts, batch).map(
    // The target's name is no part of the stream: targets that differ little are compared on the same draws.
    (attack, i): TargetRequest => ({ attack, streamName: ['transfer response', attacks.attacker, first + i] }),
  );
  const trial = createTrial({ target: opened.target, decode, responses, seats, ledger, signal });
  const tried = await trial.try(requests);
  const rows = requests.map(({ attack }, i): AttackRow => {
    const evidence = tried[i] as Evidence;
    return {
      source: 'transfer',
      ids: [], // the text was sent, never the ids: the target has a tokenizer of its own
      text: attack,
      meanUnsafe: meanUnsafeOf(evidence, seats[0] as JudgeSeat),
      responses: evidence.responses,
    };
  });
  const cost = { ...ledger.take(), seconds: (monotonicMs() - started) / 1000 };
  store.recordUpdate({ stage, update: batch, attacks: rows, cost });
}

/** Puts the missing attacks to the target, batch by batch, then measures the cell. */
export async function fillCell(work: CellWork): Promise<void> {
  const { store, attacks, opened, judges, signal, onAttacks } = work;
  const stage = transferStage({ attacker: attacks.attacker, target: opened.record.name });
  const batches = Math.ceil(attacks.texts.length / TRANSFER_BATCH);
  const kept = keptBatches(store, stage, attacks.texts);
  store.beginStage(stage, batches + 1);
  store.truncateAfter(stage, kept - 1);
  const seats = judges.map((judge): JudgeSeat => ({ judge, masked: false, name: judge.name }));
  try {
    for (let batch = kept; batch < batches; batch++) {
      if (signal.aborted) throw new FloodgateError('interrupted', `${stage}: interrupted; the stored batches are kept`);
      await askBatch(work, stage, batch, seats);
      onAttacks(Math.min((batch + 1) * TRANSFER_BATCH, attacks.texts.length));
    }
    store.recordUpdate({ stage, update: batches, ...(await measureCell(work, stage)) });
    store.endStage(stage, 'done');
  } catch (error) {
    const isInterrupt = error instanceof FloodgateError && error.code === 'interrupted';
    store.endStage(stage, isInterrupt ? 'interrupted' : 'failed');
    throw error;
  }
}

async function measureCell(work: CellWork, stage: string): Promise<{ metrics: MetricRecord[]; events: EventRecord[] }> {
  const { store, attacks, embeddings, opened, judges, seed, threshold, signal } = work;
  const what = `measure ${stage}`;
  const responses = await finishPausing(
    mapInSteps(store.attacks({ stage }), ({ id }) => store.responses(id)),
    signal,
    what,
    SAME_COMMAND,
  );
  const away = new Map(
    judges.map(({ name }) => [name, responses.map((each) => outcomeBy(each, { name, masked: false }))]),
  );
  const outcomes = await opened.outcomes?.of(attacks.texts);
  const metrics = cellMetrics({
    home: attacks.home,
    away,
    embeddings,
    exact: outcomes?.map(({ success }) => success),
    exactJudge: judges[0]?.name ?? '',
    seed,
    threshold,
  });
  const answered = attacks.texts.map((text, i) => ({ text, responses: responses[i] ?? [] }));
  return {
    metrics: await finishPausing(metrics, signal, what, SAME_COMMAND),
    events: work.isTuned ? [] : repeatedCell(attacks.attacker, opened.record.name, answered),
  };
}

const SAME_COMMAND = 'the same command resumes';

interface CellOutcomes {
  /** Against the run's own target, and against the further one; by judge, one an attack. */
  readonly home: ReadonlyMap<string, readonly AttackOutcome[]>;
  readonly away: ReadonlyMap<string, readonly AttackOutcome[]>;
  /** Of the attacks [n, D]. */
  readonly embeddings: EmbeddingMatrix;
  /** P(success) of each attack, read off the target; undefined where the truth is not known. */
  readonly exact: readonly number[] | undefined;
  /** The judge of the exact figures. */
  readonly exactJudge: string;
  readonly seed: number;
  readonly threshold: number;
}

/** Of the attacks that succeed at home and could be scored away, the share that succeeds there too. */
function transferRate(home: readonly AttackOutcome[], away: readonly AttackOutcome[]): Measure {
  const rows = home.flatMap((outcome, i) => {
    const there = away[i] as AttackOutcome;
    return isSuccess(outcome) && there.kind === 'scored' ? [there] : [];
  });
  return wilsonInterval(rows.filter(isSuccess).length, rows.length);
}

function meanOf(values: readonly number[], method: string): Measure {
  const mean = values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  return pointMeasure(mean, values.length, method);
}

const READ_OFF = 'read off the target';

/**
 * The figures of a cell by judge: `asr`, `uniqueAttacks`, `transferRate`, `excluded`. Where the target's truth is known,
 * also the expectations of the first and the third: `exactAsr` and `exactTransferRate`.
 */
function* cellMetrics(cell: CellOutcomes): Steps<MetricRecord[]> {
  const { home, away, embeddings, seed, threshold, exact, exactJudge } = cell;
  const metrics: MetricRecord[] = [];
  for (const [judge, outcomes] of away) {
    const { asr, excluded } = attackSuccess(outcomes);
    const stream = randomStream(seed, 'transfer', 'uniqueAttacks');
    const unique = yield* uniqueAttacksAtSizeInSteps(embeddings, successIndices(outcomes), {
      size: embeddings.rows,
      stream,
      threshold,
    });
    metrics.push(
      measuredMetric('asr', asr, judge),
      measuredMetric('uniqueAttacks', unique, judge),
      measuredMetric('transferRate', transferRate(home.get(judge) ?? [], outcomes), judge),
      plainMetric('excluded', excluded, outcomes.length, judge),
    );
  }
  if (exact !== undefined) {
    const succeedingAtHome = successIndices(home.get(exactJudge) ?? []).map((i) => exact[i] as number);
    metrics.push(
      measuredMetric('exactAsr', meanOf(exact, READ_OFF), exactJudge),
      measuredMetric('exactTransferRate', meanOf(succeedingAtHome, READ_OFF), exactJudge),
    );
  }
  return metrics;
}
