import { randomStream } from '../base/random.ts';
import type { SampledAttack } from '../learning/attacker.ts';
import type { JudgeScore } from '../learning/reward/reward.ts';
import { createCallCounter, createRewardFunction } from '../trial/try-attacks.ts';
import type { AttackSource } from './attack-source.ts';
import { type Campaign, rewardSeats } from './campaign/campaign.ts';
import { loadReference } from './campaign/load-reference.ts';
import { trainingTargetCalls } from './used-calls.ts';

/** Reference attacks tried at once. */
const ROWS = 512;

/** n for which `attacks` attacks, each the best of n, cost the budget. At least 1. */
export function bestOfN(budget: number, attacks: number, responses: number): number {
  return Math.max(1, Math.floor(budget / (attacks * responses)));
}

/**
 * Each attack is the best, by the training judge's mean log P(unsafe), of n that the reference wrote; n follows from the
 * budget of target calls. The chosen attacks are measured on responses of their own, as every attacker's are.
 */
export async function openBestOfNSource(campaign: Campaign): Promise<AttackSource> {
  const { attacker, config, target } = campaign;
  const { responses } = config.target;
  const budget = config.bestOfN.targetCalls ?? trainingTargetCalls(campaign, 'smoothing');
  const n = bestOfN(budget, config.evaluation.attacks, responses);
  const state = attacker.stateOf(await loadReference(campaign));
  return {
    draw: async (first, count, { seed, temperature }) => {
      const calls = createCallCounter();
      const options = { target, decode: config.target.decode, responses, seats: rewardSeats(campaign) };
      const reward = createRewardFunction(options, config.gflownet.unsafeFloor, calls);
      const best: ({ attack: SampledAttack; score: JudgeScore | undefined } | undefined)[] = new Array(count);
      const draws = Array.from({ length: count * n }, (_, draw) => ({ slot: Math.floor(draw / n), trial: draw % n }));
      let tokens = 0;
      for (let start = 0; start < draws.length; start += ROWS) {
        const chunk = draws.slice(start, start + ROWS);
        const streams = chunk.map(({ slot, trial }) => ({
          stream: randomStream(seed, 'best of n', first + slot, trial),
          temperature,
        }));
        const attacks = await attacker.sample(state, streams);
        const results = await reward(
          attacks.map(({ text }, i) => {
            const { slot, trial } = chunk[i] as (typeof chunk)[number];
            return { text, streamName: ['best of n response', first + slot, trial] };
          }),
        );
        attacks.forEach((attack, i) => {
          const { slot } = chunk[i] as (typeof chunk)[number];
          const score = results[i]?.score;
          const before = best[slot];
          tokens += attacker.rowOf(attack).length;
          if (before === undefined || (score?.logS ?? -Infinity) > (before.score?.logS ?? -Infinity)) {
            best[slot] = { attack, score };
          }
        });
      }
      const attacks = best.map((entry) => ({ ...(entry as { attack: SampledAttack }).attack, logPi: null }));
      return {
        attacks,
        ids: attacks.map((attack) => attacker.rowOf(attack)),
        cost: { targetCalls: calls.targetCalls, judgeCalls: calls.judgeCalls, tokens: tokens + calls.tokens },
      };
    },
    close: async () => undefined,
  };
}
