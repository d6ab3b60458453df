import { type RandomStream, randomStream } from '../../base/random.ts';
import type { Attacker, AttackerState, DrawRequest } from '../attacker.ts';
import { screen } from '../proposals/screen.ts';
import { Surrogate } from '../proposals/surrogate.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { DrawnAttack, DrawnBatch } from './asked-batches.ts';
import { type DrawPlan, type SearchElsewhere, sizeOfPlan } from './draw-plan.ts';
import { type GatherOptions, type GflownetParts, rewardOf } from './gflownet-parts.ts';
import { drawAttacks, type ReferenceRule } from './rollout.ts';

/** Successes of the buffer to rewrite, at most `count`. */
function parentsOf<E>({ buffer }: GflownetParts<E>, options: GatherOptions, update: number, count: number) {
  if (count === 0) return [];
  const stream = randomStream(options.seed, 'rewritten', update);
  const drawn = buffer.sample(count, { by: 'judge', logReward: rewardOf(options, update), stream });
  return drawn.filter(({ score }) => isUnsafe(score.meanUnsafe)).map(({ tokens }) => tokens);
}

/**
 * The fresh attacks of one update: some at temperature 1, some tempered, some rewritten; each from its own stream.
 * @param parts those of the cell.
 */
export function planFresh<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  update: number,
  cell: string | undefined,
): DrawPlan {
  const { seed, temperatures, rewriteChange, screen: rule } = options;
  const count = Math.max(1, Math.round(options.batchSize * options.accumulation * options.freshShare));
  const parents = parentsOf(parts, options, update, Math.round(count * options.rewriteShare));
  const slots = count - parents.length;
  const tempered = Math.min(slots, Math.round(count * options.temperedShare));
  const place = { seed, update, ...(cell === undefined ? {} : { cell }) };
  const drawn = { ...place, slots, tempered, temperatures, parents, rewriteChange };
  return rule === undefined || parts.surrogate === undefined ? drawn : { ...drawn, screen: rule };
}

/**
 * Requests that rewrite successes: each token of a success is kept with probability 1 - `rewriteChange` and drawn from
 * the policy otherwise, as is everything after its end (Kim et al. 2025, delta-CS). The objective is off-policy, so the
 * stated distribution stays the same.
 */
function rewriteRequests({ seed, update, cell, parents, rewriteChange }: DrawPlan): DrawRequest[] {
  return parents.map((tokens, row) => {
    const own = randomStream(seed, 'rewrite', update, row);
    const kept = tokens.map((token) => (own.nextFloat() < rewriteChange ? undefined : token));
    return { stream: own, temperature: 1, kept, ...(cell === undefined ? {} : { cell }) };
  });
}

/** A fresh attack; embedding and prediction where it was screened. */
export type FreshAttack = DrawnAttack & { readonly embedding?: Float32Array };

export interface DrawingParts {
  readonly attacker: Attacker;
  /** The policy. */
  readonly state: AttackerState;
  /** Both where attacks are screened. */
  readonly surrogate?: Surrogate | undefined;
  readonly embed?: ((texts: readonly string[]) => Promise<Float32Array[]>) | undefined;
}

/** Attacks drawn for a plan's slots; with several candidates a slot, screened. */
async function drawSlots({ attacker, state, surrogate, embed }: DrawingParts, plan: DrawPlan): Promise<FreshAttack[]> {
  const { seed, update, cell, slots, tempered, screen: rule } = plan;
  const ofCell = cell === undefined ? {} : { cell };
  const { low, high } = plan.temperatures;
  const isTempered = (row: number): boolean => row % slots >= slots - tempered;
  const requests = Array.from({ length: slots * (rule?.candidates ?? 1) }, (_, row) => {
    const stream: RandomStream = randomStream(seed, 'attack', update, row);
    return { stream, temperature: isTempered(row) ? low + (high - low) * stream.nextFloat() : 1, ...ofCell };
  });
  const { from, to } = plan.rows ?? { from: 0, to: requests.length };
  const sampled = await drawAttacks(attacker, state, requests.slice(from, to));
  const sourceOf = (row: number) => (isTempered(row) ? 'tempered' : 'fresh');
  const drawn = sampled.map((attack, i) => ({ ...attack, source: sourceOf(from + i) }) as const);
  if (rule === undefined || surrogate === undefined || embed === undefined) return drawn.map((attack) => ({ attack }));
  const embeddings = await embed(drawn.map(({ text }) => text));
  const candidates = drawn.map((attack, i) => ({ attack, embedding: embeddings[i] as Float32Array }));
  return screen(candidates, surrogate, rule, { count: slots, seed, update });
}

/** The attacks of a plan, as the policy of `parts` draws them: those of its slots, then the rewritten ones. */
export async function drawFresh(parts: DrawingParts, plan: DrawPlan): Promise<FreshAttack[]> {
  const fresh = plan.slots === 0 ? [] : await drawSlots(parts, plan);
  if (plan.parents.length === 0) return fresh;
  const rewritten = await drawAttacks(parts.attacker, parts.state, rewriteRequests(plan));
  return [...fresh, ...rewritten.map((attack) => ({ attack: { ...attack, source: 'rewritten' as const } }))];
}

/** The attacks of a plan, from the policy as it is now. */
export function sampleFresh<E>(parts: GflownetParts<E>, plan: DrawPlan): Promise<FreshAttack[]> {
  const { attacker, policy, surrogate, embed } = parts;
  return drawFresh({ attacker, state: attacker.stateOf(policy.parameters), surrogate, embed }, plan);
}

const withoutEmbedding = ({ attack, prediction }: FreshAttack): DrawnAttack => ({ attack, prediction });

const batchOf = ({ update, cell }: DrawPlan, attacks: readonly DrawnAttack[]): DrawnBatch => ({
  update,
  ...(cell === undefined ? {} : { cell }),
  attacks,
});

/** Asks the target about the attacks of a plan. */
export async function askFresh<E>(
  parts: GflownetParts<E>,
  options: GatherOptions,
  plan: DrawPlan,
  attacks: readonly FreshAttack[],
): Promise<void> {
  const drawn = batchOf(plan, attacks.map(withoutEmbedding));
  // A resume embeds again what was under way: only a batch that is taken at once may keep its embeddings.
  const isKnown = options.askedAhead === 0 && attacks.every(({ embedding }) => embedding !== undefined);
  const embeddings = isKnown ? attacks.map(({ embedding }) => embedding) : undefined;
  await parts.asked.ask(parts, options, drawn, { embeddings });
}

/** Has a plan drawn elsewhere from the policy as it is now, and asks the target about its attacks. */
export function searchFresh<E>(
  parts: GflownetParts<E>,
  rule: ReferenceRule,
  search: SearchElsewhere,
  plan: DrawPlan,
): void {
  const { attacker, embed } = parts;
  const vector = attacker.createParameters();
  vector.data.set(parts.policy.parameters.data.subarray(0, vector.data.length)); // a head of log Z is behind them
  const surrogate = plan.screen === undefined ? undefined : parts.surrogate?.state();
  const states = { policy: vector.data, ...(surrogate === undefined ? {} : { surrogate }) };
  const redraw = async (): Promise<DrawnBatch> => {
    const known = surrogate === undefined ? undefined : new Surrogate(plan.seed, surrogate);
    const attacks = await drawFresh({ attacker, state: attacker.stateOf(vector), surrogate: known, embed }, plan);
    return batchOf(plan, attacks.map(withoutEmbedding));
  };
  const found = search(plan, states, { fluency: rule.fluency, truncationPenalty: rule.truncationPenalty });
  const drawn = found.then(({ attacks, opinions, stored }) => ({ batch: batchOf(plan, attacks), opinions, stored }));
  drawn.catch(() => undefined); // whoever takes the batch hears of it
  const { attacks: _none, ...place } = batchOf(plan, []);
  parts.asked.search(parts, { ...place, size: sizeOfPlan(plan), drawn, redraw });
}
