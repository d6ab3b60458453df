import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../base/atomic-file.ts';
import type { CollectedAttack } from '../learning/loops/collection-weights.ts';
import { averageScores } from '../learning/replay/replay-entry.ts';
import { judgeScore } from '../learning/reward/reward.ts';
import type { DistinctAttack } from '../runs/store/records.ts';
import { type CallCounter, createCallCounter, tryAttacks, unsafeOf } from '../trial/try-attacks.ts';
import { type Campaign, checkpointFile, rewardSeats } from './campaign/campaign.ts';
import type { AttackerName } from './config/attacker-names.ts';

const CHUNK = 64;

/** Distinct attacks that `source` found in training, above both thresholds. */
export function collectAttacks({ store, config, trainingJudge }: Campaign, source: AttackerName): DistinctAttack[] {
  const { minUnsafe, minLogPRef } = config.collect;
  const { unsafeFloor } = config.gflownet;
  return store.distinctAttacks({ stage: source, judge: trainingJudge.name, unsafeFloor, minUnsafe, minLogPRef });
}

/** What smoothing learns from. */
export interface Collection {
  readonly attacks: readonly CollectedAttack[];
  /** What scoring it again cost; the time is kept out, so that the file is the same whenever it was made. */
  readonly calls: CallCounter;
}

/** The scored collection of this run, made once: a resume reads it, so that no call is made again. */
export async function loadCollection(
  campaign: Campaign,
  source: AttackerName,
  found: readonly DistinctAttack[],
): Promise<Collection> {
  const file = checkpointFile(campaign.folder, source === 'gflownet' ? 'collection.json' : `${source}-collection.json`);
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as Collection;
  const collection = await scoreCollected(campaign, source, found);
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(collection)));
  return collection;
}

/**
 * Scores of the collected attacks: as found, over all the responses that each drew in training, or averaged with new
 * responses, dropping those that do not hold up.
 */
async function scoreCollected(
  campaign: Campaign,
  source: AttackerName,
  found: readonly DistinctAttack[],
): Promise<Collection> {
  const { config, target } = campaign;
  const floor = config.gflownet.unsafeFloor;
  const asFound = found.map(({ ids, text, meanUnsafe, logS, logPRef, responses }) => ({
    ids,
    text,
    logPRef: logPRef ?? 0,
    score: { logS, meanUnsafe, responses },
  }));
  const calls = createCallCounter();
  if (!config.smoothing.rescore) return { attacks: asFound, calls };
  const seats = rewardSeats(campaign);
  const bar = campaign.io.progress.start('re-score the collection', asFound.length, 'attacks');
  const kept: CollectedAttack[] = [];
  for (let start = 0; start < asFound.length; start += CHUNK) {
    const chunk = asFound.slice(start, start + CHUNK);
    const trials = await tryAttacks(
      chunk.map(({ text }, i) => ({ text, streamName: ['re-score', source, start + i] })),
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
