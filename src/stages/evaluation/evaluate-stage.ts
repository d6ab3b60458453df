import { monotonicMs } from '../../base/clock.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { Attacker } from '../../learning/attacker.ts';
import { type AttackRow, attackRow } from '../../runs/store/records.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import { type Evidence, meanUnsafeOf, type SeatName } from '../../trial/evidence.ts';
import { createLedger, type Ledger } from '../../trial/ledger.ts';
import { createTrial, type Trial } from '../../trial/trial.ts';
import { openStageAttacker } from '../checkpoints.ts';
import { createPolicyDraw } from '../policy-draw.ts';
import type { AttackDraw, Campaign, DrawnAttack } from '../stage.ts';
import { type EvaluationPlan, evaluationSeats } from './evaluation-plan.ts';
import { measureStage } from './measure-stage.ts';

/** Attacks of one stored batch; a kill loses at most this many. */
const BATCH = 32;

/** Opens the source of a stage's attacks for evaluation. */
async function openDraw(campaign: Campaign, stage: string): Promise<AttackDraw> {
  const { open } = campaign.stage(stage);
  if (open !== undefined) return open(campaign);
  const { attacker, state } = await openStageAttacker(campaign, stage);
  return createPolicyDraw(attacker, state);
}

/**
 * Measures a stage's attacker on fresh attacks: samples them, asks the target, and has every judge score the responses,
 * once as they are and once with the attack's own words masked. Resumes batch by batch. Stored attacks are kept, and
 * those that the plan asks for beyond them are added.
 */
export async function evaluateStage(campaign: Campaign, stage: string, wanted: EvaluationPlan): Promise<void> {
  const { store } = campaign;
  const most = await campaign.stage(stage).mostAttacks?.(campaign);
  const plan = most === undefined ? wanted : { ...wanted, attacks: Math.min(most, wanted.attacks) };
  const name = evaluationStage(stage);
  const kept = storedBatches(store, name);
  const batches = kept.batches + Math.ceil(Math.max(0, plan.attacks - kept.attacks) / BATCH);
  store.beginStage(name, batches + 1);
  store.truncateAfter(name, kept.batches - 1);
  if (kept.batches < batches) {
    const draw = await openDraw(campaign, stage);
    try {
      await tryBatches(campaign, draw, plan, { name, kept, to: batches });
    } finally {
      await draw.close();
    }
  }
  const { metrics, events, curve } = await measureStage(campaign, stage, plan);
  store.recordUpdate({ stage: name, update: batches, metrics, events });
  for (const [i, point] of curve.entries()) {
    store.recordUpdate({ stage: name, update: batches + 1 + i, metrics: point });
  }
  store.endStage(name, 'done');
}

/** Attacks that are stored, in so many batches; the last one may be short. */
interface StoredBatches {
  readonly attacks: number;
  readonly batches: number;
}

function storedBatches(store: Campaign['store'], name: string): StoredBatches {
  const rows = store.attacks({ stage: name });
  return { attacks: rows.length, batches: (rows.at(-1)?.update ?? -1) + 1 };
}

async function tryBatches(
  campaign: Campaign,
  draw: AttackDraw,
  plan: EvaluationPlan,
  range: { readonly name: string; readonly kept: StoredBatches; readonly to: number },
): Promise<void> {
  const { store, io, evaluationTarget: target, config } = campaign;
  const ledger = createLedger();
  const { decode } = config.target;
  const seats = evaluationSeats(campaign);
  const trial = createTrial({ target, decode, responses: plan.responses, seats, ledger, signal: io.signal });
  const bar = io.progress.start(range.name, plan.attacks, 'attacks');
  const { attacks: before, batches: from } = range.kept;
  bar.update(before);
  try {
    for (let batch = from; batch < range.to; batch++) {
      const first = before + (batch - from) * BATCH;
      if (io.signal.aborted) throw interrupted(range.name, first, plan.attacks);
      const count = Math.min(BATCH, plan.attacks - first);
      const started = monotonicMs();
      const attacks = await tryBatch(campaign, { draw, trial, ledger }, plan, { first, count });
      const seconds = (monotonicMs() - started) / 1000;
      store.recordUpdate({ stage: range.name, update: batch, attacks, cost: { ...ledger.take(), seconds } });
      bar.update(first + count);
    }
  } finally {
    bar.finish();
  }
}

function interrupted(name: string, kept: number, attacks: number): FloodgateError {
  return new FloodgateError('interrupted', `${name}: interrupted, ${kept} of ${attacks} attacks are kept`);
}

async function tryBatch(
  { attacker, trainingJudge }: Campaign,
  { draw, trial, ledger }: { readonly draw: AttackDraw; readonly trial: Trial; readonly ledger: Ledger },
  plan: EvaluationPlan,
  { first, count }: { readonly first: number; readonly count: number },
): Promise<AttackRow[]> {
  const { attacks, cost } = await draw.draw(first, count, plan);
  ledger.add(cost);
  const tried = await trial.try(
    attacks.map(({ text }, i) => ({ attack: text, streamName: ['evaluation response', plan.seed, first + i] })),
  );
  const seat = { name: trainingJudge.name, masked: false };
  return attacks.map((attack, i) => evaluationRow(attacker, attack, tried[i] as Evidence, seat));
}

function evaluationRow(attacker: Attacker, attack: DrawnAttack, evidence: Evidence, seat: SeatName): AttackRow {
  const row = attackRow({ ...attack, source: 'evaluation', evidence }, attacker.rowOf(attack));
  return { ...row, meanUnsafe: meanUnsafeOf(evidence, seat) };
}
