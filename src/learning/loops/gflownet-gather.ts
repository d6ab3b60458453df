import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import type { Attack, RewardedAttack } from '../attack.ts';
import { surrogateValue } from '../proposals/screen.ts';
import { drawMixed } from '../replay/mixed-draw.ts';
import type { InsertOutcome, ReplayCandidate, ReplayEntry } from '../replay/replay-entry.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { SuccessPool } from '../reward/spread.ts';
import type { TriedBatch } from './asked-batches.ts';
import { type DrawPlan, sizeOfPlan } from './draw-plan.ts';
import { askFresh, planFresh, sampleFresh, searchFresh } from './fresh-attacks.ts';
import { type GatherOptions, type GflownetParts, inCell, memoriesOf, rewardOf } from './gflownet-parts.ts';
import { writtenTokens } from './rollout.ts';

function drawReplay<E>(
  { buffer, clusters }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  count: number,
): ReplayEntry[] {
  const stream = randomStream(options.seed, 'replay', update);
  const { mix, replayBy: by } = options;
  if (mix !== undefined && clusters !== undefined) return drawMixed(buffer, clusters, mix, { count, stream });
  return buffer.sample(count, { by, logReward: rewardOf(options, update), stream });
}

/**
 * Draws the replayed rows of a cell; `rescoreReplay` averages new responses into their scores. The buffer changes only
 * when the returned function is called: an update that is interrupted before leaves no trace.
 */
async function replayRows<E>(
  whole: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  { cell, count }: { readonly cell: string | undefined; readonly count: number },
): Promise<() => RewardedAttack<E>[]> {
  const parts = inCell(whole, cell);
  const { buffer, reward, pool } = parts;
  const ofCell = cell === undefined ? {} : { cell };
  const drawn = drawReplay(parts, options, update, count);
  const replayed = (entry: ReplayEntry, evidence: { readonly evidence?: E }): RewardedAttack<E> => {
    const { id: _id, embedding, addedAtUpdate: _added, evidence: _earlier, logPRef: _known, ...attack } = entry;
    return { ...attack, source: 'replay', ...ofCell, ...neighboursOf(pool, options, embedding), ...evidence };
  };
  if (!options.rescoreReplay || drawn.length === 0) return () => drawn.map((entry) => replayed(entry, {}));
  const results = await reward(drawn.map(({ text }, row) => ({ text, streamName: ['rescore', update, row] })));
  return () =>
    drawn.map((entry, i) => {
      const { score, evidence } = results[i] as (typeof results)[number];
      if (score !== undefined) buffer.rescore(entry.id, score);
      return replayed(buffer.get(entry.id) as ReplayEntry, { evidence });
    });
}

/** The successes near an attack, counted again at each use; nothing without a pool. */
function neighboursOf(
  pool: SuccessPool | undefined,
  { spread }: Pick<GatherOptions, 'spread'>,
  embedding: Float32Array | undefined,
): { readonly neighbours?: number } {
  if (pool === undefined || spread === undefined || embedding === undefined) return {};
  return { neighbours: pool.near(embedding, spread.cosine) };
}

/** An attack that was tried, with what is known beside it. */
export interface TriedAttack<Known> {
  readonly attack: Known;
  /** Where the buffer, the pool or the surrogate needs it. */
  readonly embedding: Float32Array | undefined;
  /** The score that the surrogate expected. */
  readonly prediction?: number | undefined;
}

/** Attacks that were kept, and how many of them succeeded and were no near-duplicate of an earlier success. */
interface Kept<Known> {
  readonly attacks: Known[];
  readonly founded: number;
}

/** Whether an attack that entered the buffer is near no success. @param successes ids of the buffer's. */
function isNewWording(outcome: InsertOutcome, successes: ReadonlySet<number>): boolean {
  if (outcome.kind === 'replaced') return !successes.has(outcome.replaced);
  return outcome.kind === 'inserted' || outcome.kind === 'inserted-evicting' || outcome.kind === 'evicted-self';
}

/**
 * Puts tried attacks of one cell into its buffer and teaches the surrogate; successes join the pool. Returns them with
 * neighbours.
 * @param parts those of the cell.
 */
export function keepAttacks<E, Known extends RewardedAttack<E>>(
  { buffer, pool, surrogate }: Pick<GflownetParts<E>, 'buffer' | 'pool' | 'surrogate'>,
  options: Pick<GatherOptions, 'reward' | 'spread'>,
  update: number,
  tried: readonly TriedAttack<Known>[],
): Kept<Known> {
  const logReward = rewardOf(options, update);
  const successes = new Set(buffer.all().flatMap(({ id, score }) => (isUnsafe(score.meanUnsafe) ? [id] : [])));
  let founded = 0;
  for (const { attack, embedding, prediction } of tried) {
    const outcome = buffer.insert(toCandidate(attack, update, embedding), logReward);
    if (isUnsafe(attack.score.meanUnsafe)) {
      if (isNewWording(outcome, successes)) founded++;
      if ('id' in outcome) successes.add(outcome.id);
    }
    if (embedding === undefined) continue;
    if (isUnsafe(attack.score.meanUnsafe)) pool?.add(attack.text, embedding);
    if (prediction !== undefined) surrogate?.observe(prediction, surrogateValue(attack.score));
    surrogate?.learn(embedding, surrogateValue(attack.score));
  }
  const attacks = tried.map(({ attack, embedding }) => ({ ...attack, ...neighboursOf(pool, options, embedding) }));
  return { attacks, founded };
}

/** An attack and the parts of its reward, for the buffer of its cell. */
export function toCandidate(attack: RewardedAttack, update: number, embedding?: Float32Array): ReplayCandidate {
  const { evidence: _evidence, logPi: _logPi, neighbours: _neighbours, cell: _ofTheBuffer, ...known } = attack;
  return { ...known, addedAtUpdate: update, ...(embedding === undefined ? {} : { embedding }) };
}

export interface Gathered<E> {
  /** Scored fresh attacks, then replayed ones. */
  readonly rows: readonly RewardedAttack<E>[];
  readonly unscored: readonly Attack<E>[];
  readonly attackTokens: number;
  /** Updates since the oldest of the taken batches was drawn; absent where this process draws them, or none was taken. */
  readonly lag?: number;
}

/** Batches of this update, and of earlier ones, would be too old at the next. */
const oldestAllowed = (maxLag: number, update: number): number => update - maxLag;

/** True while no attack was tried. */
function isEmpty<E>(parts: GflownetParts<E>): boolean {
  return memoriesOf(parts).every(([, { buffer }]) => buffer.size === 0);
}

/** How many of the batches under way an update waits for: all that are not asked ahead, and at the end of the stage all. */
function batchesDue<E>(parts: GflownetParts<E>, options: GatherOptions, update: number, drawn: number) {
  const { asked } = parts;
  const all = asked.underWay.length + drawn;
  const isLast = update === options.updates - 1;
  if (isLast || isEmpty(parts)) return all;
  const due = Math.max(0, all - options.askedAhead);
  if (options.maxLag === undefined) return due;
  const oldest = oldestAllowed(options.maxLag, update);
  return Math.max(due, asked.underWay.filter((batch) => batch.update <= oldest).length);
}

/** Waits for the batches that an update learns from. With `maxLag`, those that are answered first, and the oldest. */
async function takeBatches<E>(
  { asked, takenOrder }: GflownetParts<E>,
  { maxLag }: GatherOptions,
  update: number,
  count: number,
): Promise<TriedBatch<E>[]> {
  if (maxLag === undefined) return asked.take({ count });
  const before = takenOrder?.at(update);
  const taken = await asked.take({ count, arrival: { oldest: oldestAllowed(maxLag, update), before } });
  const updates = taken.map(({ drawn }) => drawn.update);
  if (before === undefined) takenOrder?.keep(update, updates);
  return taken;
}

/** The fresh attacks of an update, planned in the cell whose turn it is; undefined for an update that asks nobody. */
function planBatch<E>(parts: GflownetParts<E>, options: GatherOptions, update: number): DrawPlan | undefined {
  const { asked, cells } = parts;
  const isBatch = update % options.updatesPerBatch === 0 || (isEmpty(parts) && asked.underWay.length === 0);
  if (!isBatch) return undefined;
  const underWay = asked.underWay.map(({ cell }) => cell);
  const cell = cells?.calls.next(update, underWay);
  return planFresh(inCell(parts, cell), options, update, cell);
}

/** The cell of an update's replay: that of the first batch it takes. An update without one takes any cell with attacks. */
function replayedCell<E>(
  parts: GflownetParts<E>,
  { seed }: GatherOptions,
  update: number,
  due: readonly { readonly cell?: string }[],
): string | undefined {
  if (parts.cells === undefined) return undefined;
  if (due[0] !== undefined) return due[0].cell;
  const filled = memoriesOf(parts).filter(([, { buffer }]) => buffer.size > 0);
  return filled[randomStream(seed, 'replayed cell', update).nextInt(filled.length)]?.[0];
}

/**
 * Everything that one update learns from: fresh attacks tried on the target, and replay. Updates between two batches
 * (`updatesPerBatch`) ask nobody: replay is all they have. With `askedAhead`, an update learns from the attacks of an
 * earlier one while its own are asked. The rows are of one cell; where an update takes batches of several, each has
 * rows in it.
 *
 * @throws FloodgateError `judge` when no fresh attack could be scored and there is nothing to replay.
 */
export async function gather<E>(parts: GflownetParts<E>, options: GatherOptions, update: number): Promise<Gathered<E>> {
  const { asked, search } = parts;
  const plan = planBatch(parts, options, update);
  const fresh = plan === undefined || search !== undefined ? [] : await sampleFresh(parts, plan);
  const count = batchesDue(parts, options, update, plan === undefined ? 0 : 1);
  const due = [...asked.underWay, ...(plan === undefined ? [] : [{ ...plan, size: sizeOfPlan(plan) }])].slice(0, count);
  const dueAttacks = due.reduce((sum, { size }) => sum + size, 0);
  const total = options.batchSize * options.accumulation;
  const cell = replayedCell(parts, options, update, due);
  const replay = await replayRows(parts, options, update, { cell, count: Math.max(0, total - dueAttacks) });
  if (plan !== undefined && search !== undefined) searchFresh(parts, options, search, plan);
  else if (plan !== undefined) await askFresh(parts, options, plan, fresh);
  try {
    const batches = await takeBatches(parts, options, update, count);
    // Attacks that are drawn elsewhere count with their answers: they may not be drawn yet.
    const written = search === undefined ? fresh : batches.flatMap(({ drawn }) => drawn.attacks);
    const attackTokens = writtenTokens(written.map(({ attack }) => attack));
    return await rowsOf(parts, options, update, { batches, replayed: replay(), attackTokens });
  } catch (error) {
    if (plan !== undefined) asked.retract();
    throw error;
  }
}

/** Embeddings of a batch's attacks, where anybody needs them. */
async function embeddingsOf<E>({ embed }: GflownetParts<E>, { embeddings, drawn }: TriedBatch<E>) {
  return embeddings ?? (await embed?.(drawn.attacks.map(({ attack }) => attack.text)));
}

type Scored<E> = TriedBatch<E>['tried']['scored'][number];

/** Keeps the scored attacks of batches: each cell's in its memory, with its share of new wordings counted. */
function keepBatches<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  batches: readonly { readonly cell?: string | undefined; readonly known: readonly TriedAttack<Scored<E>>[] }[],
): Scored<E>[] {
  const { cells } = parts;
  if (cells === undefined) {
    const known = batches.flatMap((batch) => batch.known);
    return keepAttacks(parts, options, update, known).attacks;
  }
  return batches.flatMap(({ cell = '', known }) => {
    const { attacks, founded } = keepAttacks(inCell(parts, cell), options, update, known);
    cells.calls.observe(cell, { tried: known.length, founded });
    return attacks;
  });
}

async function rowsOf<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  {
    batches,
    replayed,
    attackTokens,
  }: {
    readonly batches: readonly TriedBatch<E>[];
    readonly replayed: readonly RewardedAttack<E>[];
    readonly attackTokens: number;
  },
): Promise<Gathered<E>> {
  const known: { readonly cell: string | undefined; readonly known: TriedAttack<Scored<E>>[] }[] = [];
  for (const batch of batches) {
    const { drawn, tried } = batch;
    const embeddings = await embeddingsOf(parts, batch);
    const attacks = tried.scored.map((attack, i) => {
      const row = tried.rows[i] as number;
      return { attack, embedding: embeddings?.[row], prediction: drawn.attacks[row]?.prediction };
    });
    known.push({ cell: drawn.cell, known: attacks });
  }
  const scored = keepBatches(parts, options, update, known);
  if (scored.length + replayed.length === 0) {
    const tried = batches.reduce((sum, { drawn }) => sum + drawn.attacks.length, 0);
    const reason = batches.find(({ tried }) => tried.reason !== undefined)?.tried.reason ?? 'no reason was given';
    throw new FloodgateError('judge', `update ${update}: none of its ${tried} attacks could be scored: ${reason}`, {
      hint: 'fix judges.training or the target; attacks so far are saved',
    });
  }
  return {
    rows: [...scored, ...replayed],
    unscored: batches.flatMap(({ tried }) => tried.unscored),
    attackTokens,
    ...(parts.search === undefined || batches.length === 0 ? {} : { lag: lagOf(batches, update) }),
  };
}

/** Updates since the oldest batch was drawn. */
function lagOf<E>(batches: readonly TriedBatch<E>[], update: number): number {
  return batches.reduce((most, { drawn }) => Math.max(most, update - drawn.update), 0);
}
