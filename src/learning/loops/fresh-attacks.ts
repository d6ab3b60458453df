import { type RandomStream, randomStream } from '../../base/random.ts';
import type { DrawRequest } from '../attacker.ts';
import { screen } from '../proposals/screen.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { DrawnAttack } from './asked-batches.ts';
import { type GatherOptions, type GflownetParts, rewardOf } from './gflownet-parts.ts';
import { drawAttacks } from './rollout.ts';

/**
 * Requests that rewrite successes of the buffer, at most `count`: each token of a success is kept with probability
 * 1 - `rewriteChange` and drawn from the policy otherwise, as is everything after its end (Kim et al. 2025, delta-CS).
 * The objective is off-policy, so the stated distribution stays the same.
 */
function rewriteRequests<E>(
  { buffer }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  count: number,
): DrawRequest[] {
  if (count === 0) return [];
  const stream = randomStream(options.seed, 'rewritten', update);
  const drawn = buffer.sample(count, { by: 'judge', logReward: rewardOf(options, update), stream });
  const parents = drawn.filter(({ score }) => isUnsafe(score.meanUnsafe));
  return parents.map(({ tokens }, row) => {
    const own = randomStream(options.seed, 'rewrite', update, row);
    const kept = tokens.map((token) => (own.nextFloat() < options.rewriteChange ? undefined : token));
    return { stream: own, temperature: 1, kept };
  });
}

/** A fresh attack; embedding and prediction where it was screened. */
export type FreshAttack = DrawnAttack & { readonly embedding?: Float32Array };

/** Attacks drawn for `slots` slots, the last `tempered` of them tempered; with several candidates a slot, screened. */
async function drawSlots<E>(
  { attacker, policy, surrogate, embed }: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  { slots, tempered }: { readonly slots: number; readonly tempered: number },
): Promise<FreshAttack[]> {
  const { low, high } = options.temperatures;
  const { screen: rule, seed } = options;
  const isTempered = (row: number): boolean => row % slots >= slots - tempered;
  const requests = Array.from({ length: slots * (rule?.candidates ?? 1) }, (_, row) => {
    const stream: RandomStream = randomStream(seed, 'attack', update, row);
    return { stream, temperature: isTempered(row) ? low + (high - low) * stream.nextFloat() : 1 };
  });
  const sampled = await drawAttacks(attacker, attacker.stateOf(policy.parameters), requests);
  const drawn = sampled.map((attack, row) => ({ ...attack, source: isTempered(row) ? 'tempered' : 'fresh' }) as const);
  if (rule === undefined || surrogate === undefined || embed === undefined) return drawn.map((attack) => ({ attack }));
  const embeddings = await embed(drawn.map(({ text }) => text));
  const candidates = drawn.map((attack, i) => ({ attack, embedding: embeddings[i] as Float32Array }));
  return screen(candidates, surrogate, rule, { count: slots, seed, update });
}

/** Fresh attacks of one update: some at temperature 1, some tempered, some rewritten; each from its own stream. */
export async function sampleFresh<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  update: number,
): Promise<FreshAttack[]> {
  const { attacker, policy } = parts;
  const count = Math.max(1, Math.round(options.batchSize * options.accumulation * options.freshShare));
  const rewrites = rewriteRequests(parts, options, update, Math.round(count * options.rewriteShare));
  const slots = count - rewrites.length;
  const tempered = Math.min(slots, Math.round(count * options.temperedShare));
  const fresh = slots === 0 ? [] : await drawSlots(parts, options, update, { slots, tempered });
  if (rewrites.length === 0) return fresh;
  const rewritten = await drawAttacks(attacker, attacker.stateOf(policy.parameters), rewrites);
  return [...fresh, ...rewritten.map((attack) => ({ attack: { ...attack, source: 'rewritten' as const } }))];
}

/** Asks the target about the fresh attacks of an update. */
export async function askFresh<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  { update, attacks }: { readonly update: number; readonly attacks: readonly FreshAttack[] },
): Promise<void> {
  const drawn = { update, attacks: attacks.map(({ attack, prediction }) => ({ attack, prediction })) };
  // A resume embeds again what was under way: only a batch that is taken at once may keep its embeddings.
  const isKnown = options.askedAhead === 0 && attacks.every(({ embedding }) => embedding !== undefined);
  await parts.asked.ask(parts, options, drawn, isKnown ? attacks.map(({ embedding }) => embedding) : undefined);
}
