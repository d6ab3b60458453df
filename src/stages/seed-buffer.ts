import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import type { Attack } from '../learning/attack.ts';
import { placesByCell } from '../learning/attacker.ts';
import type { GflownetOptions } from '../learning/loops/gflownet.ts';
import { keepAttacks } from '../learning/loops/gflownet-gather.ts';
import { type GflownetParts, inCell, rewardOf } from '../learning/loops/gflownet-parts.ts';
import { consultReference, tryRollouts } from '../learning/loops/rollout.ts';
import type { ReplaySettings } from '../learning/replay/replay-section.ts';
import { judgeScore, type RewardFunction } from '../learning/reward/reward.ts';
import { BEFORE_UPDATES, type StoredAttack } from '../runs/store/records.ts';
import { type Evidence, unsafeOf } from '../trial/evidence.ts';
import type { Ledger } from '../trial/ledger.ts';
import { drawReference, TRIED_AT_ONCE } from './reference-draws.ts';
import { toRow } from './rewarded-training.ts';
import { seedCells } from './seed-cells.ts';
import type { Campaign } from './stage.ts';

export interface SeedBufferWork {
  readonly campaign: Campaign;
  readonly stage: string;
  readonly parts: GflownetParts<Evidence>;
  readonly options: GflownetOptions;
  readonly replay: ReplaySettings;
  readonly ledger: Ledger;
}

/** The seeds and samples of the reference that the config puts into the buffer. */
async function drawSeeds({ campaign, parts, replay }: SeedBufferWork): Promise<Attack[]> {
  const { attacker, seeds } = campaign;
  const cellOf = await seedCells(campaign);
  const { seedWithSft, seedWithReference, seedCandidates, seedCoverage } = replay;
  const drawn: Attack[] = [];
  for (const text of seedWithSft ? seeds.attacks : []) {
    const attack = attacker.tokensOf(text);
    if (attack.tokens.length < attacker.spec.minTokens) continue;
    drawn.push({ ...attack, ...cellOf(text), text: attacker.textOf(attack.tokens), source: 'seed' });
  }
  const draws = { attacks: seedWithReference, candidates: seedCandidates, coverage: seedCoverage };
  append(drawn, (await drawReference(campaign, parts.reference, draws)).attacks);
  return drawn;
}

function interrupted(kept: number, of: number): FloodgateError {
  return new FloodgateError('interrupted', `try the seeds: interrupted, ${kept} of ${of} are kept`, {
    hint: 'floodgate resume continues the run',
  });
}

/** Attacks of an earlier start, as they are stored: whole chunks of `seeds`. Others are dropped and tried again. */
function storedSeeds({ campaign, stage }: SeedBufferWork, seeds: readonly Attack[]): readonly StoredAttack[] {
  const { store } = campaign;
  const stored = store.attacks({ stage, fromUpdate: BEFORE_UPDATES, toUpdate: BEFORE_UPDATES });
  const areChunks = stored.length % TRIED_AT_ONCE === 0 || stored.length === seeds.length;
  const textsOf = (attacks: readonly { readonly text: string }[], start: number): string =>
    JSON.stringify(
      attacks
        .slice(start, start + TRIED_AT_ONCE)
        .map(({ text }) => text)
        .sort(),
    );
  let start = 0;
  while (areChunks && start < stored.length && textsOf(stored, start) === textsOf(seeds, start)) start += TRIED_AT_ONCE;
  if (start >= stored.length && stored.length <= seeds.length) return stored;
  store.truncateAfter(stage, BEFORE_UPDATES - 1);
  return [];
}

/** The reward of attacks that are stored with their verdicts: asks nobody. */
function storedReward(
  { store, config, trainingJudge }: Campaign,
  stored: readonly StoredAttack[],
): RewardFunction<Evidence> {
  const left = [...stored];
  const seat = { name: trainingJudge.name, masked: false };
  return async (requests) =>
    requests.map(({ text }) => {
      const [found] = left.splice(
        left.findIndex((attack) => attack.text === text),
        1,
      );
      const evidence: Evidence = { responses: found === undefined ? [] : store.responses(found.id) };
      return { score: judgeScore(unsafeOf(evidence, seat), config.reward.unsafeFloor), evidence };
    });
}

/** Tries one chunk and puts it into the buffer. Returns its rows for the database: scored ones, then the others. */
async function tryChunk(
  { campaign, parts, options }: SeedBufferWork,
  chunk: readonly Attack[],
  reward: RewardFunction<Evidence>,
  start: number,
): Promise<Attack<Evidence>[]> {
  const logReward = rewardOf(options, 0);
  const opinions = await consultReference(campaign.attacker, parts.reference, chunk, options);
  const embeddings = await parts.embed?.(chunk.map(({ text }) => text));
  const { scored, rows, unscored } = await tryRollouts(chunk, opinions, reward, (row) => ['seed', start + row]);
  const tried = scored.map((attack, i) => ({ attack, embedding: embeddings?.[rows[i] as number] }));
  for (const [cell, places] of placesByCell(scored)) {
    const own = places.map((i) => tried[i] as (typeof tried)[number]);
    keepAttacks(inCell(parts, cell), options, 0, own);
  }
  return [...scored.map((attack) => ({ ...attack, logReward: logReward(attack) })), ...unscored];
}

function storeChunk(
  { campaign, stage, ledger }: SeedBufferWork,
  tried: readonly Attack<Evidence>[],
  at: { readonly start: number; readonly startedMs: number },
): void {
  const written = tried.reduce((sum, { tokens, source }) => sum + (source === 'seed' ? 0 : tokens.length), 0);
  const calls = ledger.take();
  campaign.store.recordUpdate({
    stage,
    update: BEFORE_UPDATES,
    firstPosition: at.start,
    attacks: tried.map((attack) => toRow(campaign, attack)),
    cost: { ...calls, tokens: calls.tokens + written, seconds: (monotonicMs() - at.startedMs) / 1000 },
  });
}

/**
 * Tries seeds and samples of the reference once, stores them, and puts them into the buffer for replay. They are stored
 * chunk by chunk. A resume before the first checkpoint fills the buffer from what is stored and tries only the rest.
 * @throws FloodgateError `interrupted` between two chunks, when the signal was aborted.
 */
export async function seedBuffer(work: SeedBufferWork): Promise<void> {
  const { campaign, parts } = work;
  const { signal, progress } = campaign.io;
  const seeds = await drawSeeds(work);
  const stored = storedSeeds(work, seeds);
  const bar = progress.start('try the seeds', seeds.length, 'attacks');
  try {
    for (let start = 0; start === 0 || start < seeds.length; start += TRIED_AT_ONCE) {
      if (signal.aborted) throw interrupted(Math.max(start, stored.length), seeds.length);
      const startedMs = monotonicMs();
      const chunk = seeds.slice(start, start + TRIED_AT_ONCE);
      const known = stored.slice(start, start + TRIED_AT_ONCE);
      if (known.length > 0) await tryChunk(work, chunk, storedReward(campaign, known), start);
      else storeChunk(work, await tryChunk(work, chunk, parts.reward, start), { start, startedMs });
      bar.update(Math.min(start + TRIED_AT_ONCE, seeds.length));
    }
  } finally {
    bar.finish();
  }
}
