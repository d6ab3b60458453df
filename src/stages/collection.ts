import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import { randomStream } from '../base/random.ts';
import { cellInTurn } from '../learning/attacker.ts';
import type { CollectedAttack } from '../learning/loops/collection-weights.ts';
import { averageScores, judgeScore } from '../learning/reward/reward.ts';
import { createEmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { ngramClusterSizes } from '../metrics/ngrams.ts';
import { finishPausing } from '../metrics/steps.ts';
import { uniqueAttacksInSteps } from '../metrics/unique-attacks.ts';
import type { DistinctAttack } from '../runs/store/records.ts';
import { unsafeOf } from '../trial/evidence.ts';
import { type Calls, createLedger } from '../trial/ledger.ts';
import { createTrial } from '../trial/trial.ts';
import { checkpointFile, loadReference } from './checkpoints.ts';
import { type ChunkLog, openChunkLog } from './rescored-chunks.ts';
import { rewardSeat } from './rewarded-training.ts';
import type { Campaign } from './stage.ts';

const CHUNK = 64;

/** The bounds above which an attack is collected. */
export interface CollectBounds {
  /** Arithmetic mean of P(unsafe) over the responses. */
  readonly minUnsafe: number;
  /** Nats of the whole attack under the reference. */
  readonly minLogPRef: number;
}

/** Distinct attacks that `source` found in training, above both bounds. */
export function collectAttacks(
  { store, config, trainingJudge }: Pick<Campaign, 'store' | 'config' | 'trainingJudge'>,
  source: string,
  bounds: CollectBounds,
): DistinctAttack[] {
  const { unsafeFloor } = config.reward;
  return store.distinctAttacks({ stage: source, judge: trainingJudge.name, unsafeFloor, ...bounds });
}

/** The attacks that smoothing learns from. */
export interface Collection {
  readonly attacks: readonly CollectedAttack[];
  /** Calls that scored it again. The time is left out, so that the file is the same whenever it was made. */
  readonly calls: Calls;
}

export interface CollectionWork {
  readonly source: string;
  readonly found: readonly DistinctAttack[];
  readonly bounds: CollectBounds;
  /** Judge the attacks again on new responses, and drop those that are no longer above `minUnsafe`. */
  readonly rescore: boolean;
}

/**
 * The scored collection of this run, made once: a resume reads it and repeats no call. Until it is whole, its chunks are
 * stored one by one, and a resume scores only the rest.
 * @throws FloodgateError `interrupted` between two chunks, when the signal was aborted.
 */
export async function loadCollection(campaign: Campaign, work: CollectionWork): Promise<Collection> {
  const name = work.source === 'gflownet' ? 'collection.json' : `${work.source}-collection.json`;
  const file = checkpointFile(campaign.folder, name);
  const log = await openChunkLog(`${file}l`);
  if (existsSync(file)) {
    await log.remove(); // a kill may have come between the collection and this
    return JSON.parse(await readFile(file, 'utf8')) as Collection;
  }
  const collection = await scoreCollected(campaign, work, log);
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(collection)));
  await log.remove();
  return collection;
}

function asFound({ ids, cell, text, meanUnsafe, logS, fluency, responses }: DistinctAttack): CollectedAttack {
  if (fluency === null) {
    throw new FloodgateError('run', 'collect attacks: an attack has no stored fluency', {
      hint: 'the run was begun by another version: start it again',
    });
  }
  return { ids, ...(cell === null ? {} : { cell }), text, fluency, score: { logS, meanUnsafe, responses } };
}

/**
 * Scores of the collected attacks over all the responses that each drew in training. With `rescore`, averages them with
 * new responses and drops attacks whose new responses are not above `minUnsafe`.
 */
async function scoreCollected(
  campaign: Campaign,
  { source, found, bounds, rescore }: CollectionWork,
  log: ChunkLog,
): Promise<Collection> {
  const { config, target, io } = campaign;
  const { decode, responses } = config.target;
  const attacks = found.map(asFound);
  const ledger = createLedger();
  if (!rescore) return { attacks, calls: ledger.calls };
  const chunks = [...log.finished];
  const seat = rewardSeat(campaign);
  const trial = createTrial({ target, decode, responses, seats: [seat], ledger, signal: io.signal });
  const bar = io.progress.start('re-score the collection', attacks.length, 'attacks');
  for (let start = chunks.length * CHUNK; start < attacks.length; start += CHUNK) {
    if (io.signal.aborted) throw interrupted(source, start, attacks.length);
    const kept: CollectedAttack[] = [];
    const chunk = attacks.slice(start, start + CHUNK);
    const tried = await trial.try(
      chunk.map(({ text }, i) => ({ attack: text, streamName: ['re-score', source, start + i] })),
    );
    for (const [i, attack] of chunk.entries()) {
      const fresh = judgeScore(unsafeOf(tried[i] ?? { responses: [] }, seat), config.reward.unsafeFloor);
      if (fresh === undefined || fresh.meanUnsafe <= bounds.minUnsafe) continue;
      kept.push({ ...attack, score: averageScores(attack.score, fresh) });
    }
    const scored = { kept, calls: ledger.take() };
    await log.append(scored);
    chunks.push(scored);
    bar.update(Math.min(start + CHUNK, attacks.length));
  }
  const passed = chunks.flatMap(({ kept }) => kept);
  for (const { calls } of chunks) ledger.add(calls);
  bar.finish(`${passed.length} of ${attacks.length} passed again`);
  return { attacks: passed, calls: ledger.calls };
}

function interrupted(source: string, done: number, attacks: number): FloodgateError {
  return new FloodgateError('interrupted', `re-score ${source}: interrupted, ${done} of ${attacks} attacks are kept`, {
    hint: 'floodgate resume continues the run',
  });
}

/**
 * Size of the cluster that each collected attack is in.
 * @throws FloodgateError `interrupted` while it computes, when the signal was aborted.
 */
export async function clusterSizes(
  campaign: Campaign,
  attacks: readonly CollectedAttack[],
  clusters: 'embedding' | 'ngram',
): Promise<number[]> {
  const texts = attacks.map(({ text }) => text);
  if (clusters === 'embedding') return embeddingSizes(campaign, texts);
  const steps = ngramClusterSizes(texts, await referenceTexts(campaign));
  return finishPausing(steps, campaign.io.signal, CLUSTERING, CONTINUE);
}

const CLUSTERING = 'cluster the collection';
const CONTINUE = 'floodgate resume continues the run';

/** Clusters by the threshold of the evaluation. */
async function embeddingSizes({ encoder, config, io }: Campaign, texts: readonly string[]): Promise<number[]> {
  const embeddings = await encoder.embed(texts, io.signal);
  const matrix = createEmbeddingMatrix(embeddings, texts.length, embeddings.length / texts.length);
  const all = texts.map((_, i) => i);
  const sizes = new Array<number>(texts.length).fill(1);
  const steps = uniqueAttacksInSteps(matrix, all, config.evaluation.uniqueThreshold);
  for (const { members } of (await finishPausing(steps, io.signal, CLUSTERING, CONTINUE)).clusters) {
    for (const member of members) sizes[member] = members.length;
  }
  return sizes;
}

/** Attacks of the reference, which show what is common without any reward. */
const REFERENCE_TEXTS = 8192;
const ROWS = 256;

async function referenceTexts(campaign: Campaign): Promise<string[]> {
  const { attacker, config, io } = campaign;
  const state = attacker.stateOf(await loadReference(campaign));
  const texts: string[] = [];
  for (let start = 0; start < REFERENCE_TEXTS; start += ROWS) {
    if (io.signal.aborted)
      throw new FloodgateError('interrupted', 'sample the reference: interrupted, nothing is lost');
    const requests = Array.from({ length: ROWS }, (_, i) => ({
      stream: randomStream(config.seed, 'cluster reference', start + i),
      temperature: 1,
      ...cellInTurn(attacker.cells, start + i),
    }));
    append(
      texts,
      (await attacker.sample(state, requests)).map(({ text }) => text),
    );
  }
  return texts;
}
