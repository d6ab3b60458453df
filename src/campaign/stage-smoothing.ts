import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { monotonicMs } from '../base/clock.ts';
import { type CollectedAttack, collectionWeights } from '../gflownet/collection-weights.ts';
import { averageScores } from '../gflownet/replay-entry.ts';
import { judgeScore, logRewardAt } from '../gflownet/reward.ts';
import { createEmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { uniqueAttacks } from '../metrics/unique-attacks.ts';
import type { DistinctAttack, EventRecord } from '../store/records.ts';
import { type LikelihoodExample, trainLikelihood } from '../training/likelihood.ts';
import { type Campaign, checkpointFile, loopControl, rewardSeats } from './campaign.ts';
import { rewardRule } from './gflownet-settings.ts';
import { resumeStage } from './resume-stage.ts';
import { GFLOWNET } from './stage-gflownet.ts';
import { loadReference, openAttackerPolicy, recordLikelihood } from './stage-sft.ts';
import { type CallCounter, createCallCounter, tryAttacks, unsafeOf } from './try-attacks.ts';

export const SMOOTHING = 'smoothing';

const CHUNK = 32;

/** Distinct attacks that the GFlowNet stage found, above both thresholds. */
function collect({ store, config }: Campaign): DistinctAttack[] {
  const { minUnsafe, minLogPRef } = config.collect;
  return store.distinctAttacks({ stage: GFLOWNET, minUnsafe, minLogPRef });
}

interface Collection {
  readonly attacks: readonly CollectedAttack[];
  /** What scoring it again cost; the time is kept out, so that the file is the same whenever it was made. */
  readonly calls: CallCounter;
}

/** The scored collection of this run, made once: a resume reads it, so that no call is made again. */
async function loadCollection(campaign: Campaign, found: readonly DistinctAttack[]): Promise<Collection> {
  const file = checkpointFile(campaign.folder, 'collection.json');
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as Collection;
  const collection = await scoreCollected(campaign, found);
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(collection)));
  return collection;
}

/**
 * Scores of the collected attacks: as found (log S from the arithmetic mean, which is what the database keeps of an
 * attack over all its responses), or averaged with new responses, dropping those that do not hold up.
 */
async function scoreCollected(campaign: Campaign, found: readonly DistinctAttack[]): Promise<Collection> {
  const { config, target } = campaign;
  const floor = config.gflownet.unsafeFloor;
  const asFound = found.map(({ ids, text, meanUnsafe, logPRef, responses }) => ({
    ids,
    text,
    logPRef: logPRef ?? 0,
    score: { logS: Math.log(Math.max(meanUnsafe, floor)), meanUnsafe, responses },
  }));
  const calls = createCallCounter();
  if (!config.smoothing.rescore) return { attacks: asFound, calls };
  const seats = rewardSeats(campaign);
  const bar = campaign.io.progress.start('re-score the collection', asFound.length, 'attacks');
  const kept: CollectedAttack[] = [];
  for (let start = 0; start < asFound.length; start += CHUNK) {
    const chunk = asFound.slice(start, start + CHUNK);
    const trials = await tryAttacks(
      chunk.map(({ text }, i) => ({ text, streamName: ['re-score', start + i] })),
      { target, decode: config.target.decode, responses: config.target.responses, seats },
      calls,
    );
    for (const [i, attack] of chunk.entries()) {
      const fresh = judgeScore(unsafeOf(trials[i] ?? { responses: [] }, seats[0] as (typeof seats)[number]), floor);
      if (fresh === undefined || fresh.meanUnsafe <= config.collect.minUnsafe) continue;
      kept.push({ ...attack, score: averageScores(attack.score, fresh) });
    }
    bar.update(Math.min(start + CHUNK, asFound.length));
  }
  bar.finish(`${kept.length} of ${asFound.length} passed again`);
  return { attacks: kept, calls };
}

/** Cluster size of each attack, by the threshold of the evaluation. */
async function clusterSizesOf({ encoder, config }: Campaign, attacks: readonly CollectedAttack[]): Promise<number[]> {
  const embeddings = await encoder.embed(attacks.map(({ text }) => text));
  const matrix = createEmbeddingMatrix(embeddings, attacks.length, embeddings.length / attacks.length);
  const all = attacks.map((_, i) => i);
  const sizes = new Array<number>(attacks.length).fill(1);
  for (const { members } of uniqueAttacks(matrix, all, config.evaluation.uniqueThreshold).clusters) {
    for (const member of members) sizes[member] = members.length;
  }
  return sizes;
}

async function examplesOf(campaign: Campaign, attacks: readonly CollectedAttack[]): Promise<LikelihoodExample[]> {
  const { config } = campaign;
  const { weights } = config.smoothing;
  const rule = rewardRule(config);
  const logReward = logRewardAt(rule, config.gflownet.updates);
  const values = collectionWeights(attacks, {
    kind: weights,
    clusterSizes: weights === 'balanced' ? await clusterSizesOf(campaign, attacks) : [],
    logReward: ({ logPRef, score }) => logReward(logPRef, score.logS),
  });
  return attacks.map(({ ids }, i) => ({ row: ids, weight: values[i] as number }));
}

/**
 * Number under which the collection is recorded: made before the first update and kept in a file, so that no resume
 * makes its calls again, and no truncation of updates may count them as repeated.
 */
const BEFORE_UPDATES = -1;

/** Recorded in one transaction with the cost; a kill in between leaves neither. */
const COLLECTION_EVENTS: readonly string[] = ['collected', 'nothing-collected'];

function isCollectionRecorded({ store }: Campaign): boolean {
  return store.events().some(({ stage, code }) => stage === SMOOTHING && COLLECTION_EVENTS.includes(code));
}

function collectionEvent(kept: number, found: number): EventRecord {
  const message = `${kept} distinct attacks to learn from, of ${found} collected`;
  if (kept > 0) return { level: 'info', code: 'collected', message };
  const hint = 'no attack passed collect.minUnsafe and collect.minLogPRef: nothing was trained';
  return { level: 'warning', code: 'nothing-collected', message: `${message}; ${hint}` };
}

/**
 * Smoothing: the SFT attacker, not the GFlowNet policy, learns the collected attacks by maximum likelihood. Says so and
 * trains on nothing when nothing was collected.
 */
export async function runSmoothing(campaign: Campaign): Promise<void> {
  const { config, attacker, store } = campaign;
  const { smoothing, seed } = config;
  const found = collect(campaign);
  store.beginStage(SMOOTHING, smoothing.updates);
  const reference = await loadReference(campaign);
  const policy = await openAttackerPolicy(campaign, { logZ: 'none' });
  try {
    policy.parameters.data.set(reference.data);
    const start = await resumeStage(campaign, SMOOTHING, policy.parameters);
    const began = monotonicMs();
    const { attacks: collected, calls } = await loadCollection(campaign, found);
    const seconds = (monotonicMs() - began) / 1000;
    const examples = collected.length === 0 ? [] : await examplesOf(campaign, collected);
    if (!isCollectionRecorded(campaign)) {
      const event = collectionEvent(examples.length, found.length);
      store.recordUpdate({ stage: SMOOTHING, update: BEFORE_UPDATES, cost: { ...calls, seconds }, events: [event] });
    }
    if (examples.length === 0) {
      store.endStage(SMOOTHING, 'done');
      return;
    }
    await trainLikelihood(
      policy,
      { examples, validation: [] },
      {
        prompt: attacker.prompt,
        minTokens: attacker.spec.minTokens,
        batchSize: smoothing.batchSize,
        learningRate: {
          peak: smoothing.learningRate,
          warmupUpdates: smoothing.warmupUpdates,
          decay: 'constant',
          totalUpdates: smoothing.updates,
        },
        gradientClip: smoothing.gradientClip,
        weightDecay: smoothing.weightDecay,
        seed,
        validateEveryUpdates: smoothing.updates,
      },
      {
        control: loopControl(campaign, SMOOTHING, 50),
        from: start.update,
        optimizer: start.optimizer,
        onUpdate: (record) => recordLikelihood(campaign, SMOOTHING, record),
      },
    );
    store.endStage(SMOOTHING, 'done');
  } finally {
    await policy.close();
  }
}
