import { monotonicMs } from '../base/clock.ts';
import { randomStream } from '../base/random.ts';
import type { AttackTokens } from '../learning/attacker.ts';
import { referenceTerms, toCandidate } from '../learning/loops/gflownet-gather.ts';
import type { GflownetOptions, GflownetParts } from '../learning/loops/gflownet-parts.ts';
import { logRewardAt } from '../learning/reward/reward.ts';
import type { AttackRecord } from '../runs/store/records.ts';
import { type CallCounter, createCallCounter, type Trial } from '../trial/try-attacks.ts';
import type { Campaign } from './campaign/campaign.ts';

/** Attacks tried before the first update are stored under this number. */
const BEFORE_UPDATES = -1;

const CHUNK = 64;

interface Seed extends AttackTokens {
  readonly text: string;
  readonly source: 'seed' | 'reference';
}

/** The seeds and samples of the reference that the config puts into the buffer. */
async function drawSeeds(campaign: Campaign, parts: GflownetParts<Trial>): Promise<Seed[]> {
  const { attacker, seeds, config } = campaign;
  const { seedWithSft, seedWithReference } = config.gflownet.replay;
  const drawn: Seed[] = [];
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
    drawn.push(...sampled.map((attack): Seed => ({ ...attack, source: 'reference' })));
  }
  return drawn;
}

/**
 * Tries seeds and samples of the reference once, stores them, and puts them into the buffer, so that replay has something
 * to draw. All or nothing: a kill before the first checkpoint tries them again, and what was stored is counted as repeated.
 */
export async function seedBuffer(
  campaign: Campaign,
  stage: string,
  parts: GflownetParts<Trial>,
  options: GflownetOptions,
  calls: CallCounter,
): Promise<void> {
  const { attacker, store, io } = campaign;
  store.truncateAfter(stage, BEFORE_UPDATES - 1);
  const started = monotonicMs();
  const logReward = logRewardAt(options.reward, 0);
  const seeds = await drawSeeds(campaign, parts);
  const records: AttackRecord[] = [];
  const bar = io.progress.start('try the seeds', seeds.length, 'attacks');
  for (let start = 0; start < seeds.length; start += CHUNK) {
    const chunk = seeds.slice(start, start + CHUNK);
    const terms = await referenceTerms(attacker, parts.reference, chunk, options);
    const embeddings = await parts.embed?.(chunk.map(({ text }) => text));
    const results = await parts.reward(chunk.map(({ text }, i) => ({ text, streamName: ['seed', start + i] })));
    for (const [i, attack] of chunk.entries()) {
      const { score, evidence } = results[i] as (typeof results)[number];
      const { fluency, logPRef } = terms[i] as (typeof terms)[number];
      if (score !== undefined) {
        const candidate = toCandidate(attack, fluency, score, 0, embeddings?.[i]);
        parts.buffer.insert(candidate, (entry) => logReward(entry.logPRef, entry.logS));
      }
      records.push({
        source: attack.source,
        ids: attacker.rowOf(attack),
        text: attack.text,
        logPi: null,
        logPRef,
        logReward: score === undefined ? null : logReward(fluency, score.logS),
        meanUnsafe: score?.meanUnsafe ?? null,
        responses: evidence.responses,
      });
    }
    bar.update(Math.min(start + CHUNK, seeds.length));
  }
  bar.finish();
  const tokens = seeds.reduce((sum, { tokens: written, source }) => sum + (source === 'seed' ? 0 : written.length), 0);
  const cost = { ...calls, tokens: calls.tokens + tokens, seconds: (monotonicMs() - started) / 1000 };
  store.recordUpdate({ stage, update: BEFORE_UPDATES, attacks: records, cost });
  Object.assign(calls, createCallCounter());
}
