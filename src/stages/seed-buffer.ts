import { monotonicMs } from '../base/clock.ts';
import { randomStream } from '../base/random.ts';
import type { Attack } from '../learning/attack.ts';
import type { GflownetOptions } from '../learning/loops/gflownet.ts';
import { type GflownetParts, rewardOf, toCandidate } from '../learning/loops/gflownet-gather.ts';
import { consultReference, tryRollouts } from '../learning/loops/rollout.ts';
import type { ReplaySettings } from '../learning/replay/replay-section.ts';
import type { Evidence } from '../trial/evidence.ts';
import type { Ledger } from '../trial/ledger.ts';
import { toRow } from './rewarded-training.ts';
import type { Campaign } from './stage.ts';

/** Attacks tried before the first update are stored under this number. */
const BEFORE_UPDATES = -1;

const CHUNK = 64;

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
  const { attacker, seeds, config } = campaign;
  const { seedWithSft, seedWithReference } = replay;
  const drawn: Attack[] = [];
  for (const text of seedWithSft ? seeds.attacks : []) {
    const attack = attacker.tokensOf(text);
    if (attack.tokens.length < attacker.spec.minTokens) continue;
    drawn.push({ ...attack, text: attacker.textOf(attack.tokens), source: 'seed' });
  }
  for (let start = 0; start < seedWithReference; start += CHUNK) {
    const requests = Array.from({ length: Math.min(CHUNK, seedWithReference - start) }, (_, i) => ({
      stream: randomStream(config.seed, 'reference', start + i),
      temperature: 1,
    }));
    const sampled = await attacker.sample(parts.reference, requests);
    drawn.push(...sampled.map(({ logPi: _logPi, ...attack }): Attack => ({ ...attack, source: 'reference' })));
  }
  return drawn;
}

/**
 * Tries seeds and samples of the reference once, stores them, and puts them into the buffer for replay. All or nothing:
 * after a kill before the first checkpoint they are tried again, and those already stored count as repeated.
 */
export async function seedBuffer(work: SeedBufferWork): Promise<void> {
  const { campaign, stage, parts, options, ledger } = work;
  const { attacker, store, io } = campaign;
  store.truncateAfter(stage, BEFORE_UPDATES - 1);
  const started = monotonicMs();
  const logReward = rewardOf(options, 0);
  const seeds = await drawSeeds(work);
  const tried: Attack<Evidence>[] = [];
  const bar = io.progress.start('try the seeds', seeds.length, 'attacks');
  for (let start = 0; start < seeds.length; start += CHUNK) {
    const chunk = seeds.slice(start, start + CHUNK);
    const opinions = await consultReference(attacker, parts.reference, chunk, options);
    const embeddings = await parts.embed?.(chunk.map(({ text }) => text));
    const { scored, rows, unscored } = await tryRollouts(chunk, opinions, parts.reward, (row) => ['seed', start + row]);
    for (const [i, attack] of scored.entries()) {
      parts.buffer.insert(toCandidate(attack, 0, embeddings?.[rows[i] as number]), logReward);
    }
    tried.push(...scored.map((attack) => ({ ...attack, logReward: logReward(attack) })), ...unscored);
    bar.update(Math.min(start + CHUNK, seeds.length));
  }
  bar.finish();
  const written = seeds.reduce((sum, { tokens, source }) => sum + (source === 'seed' ? 0 : tokens.length), 0);
  const calls = ledger.take();
  store.recordUpdate({
    stage,
    update: BEFORE_UPDATES,
    attacks: tried.map((attack) => toRow(campaign, attack)),
    cost: { ...calls, tokens: calls.tokens + written, seconds: (monotonicMs() - started) / 1000 },
  });
}
