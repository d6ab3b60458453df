import { z } from 'zod';
import { positive, positiveCount, schedule, share } from '../../base/config-fields.ts';
import type { FluencyForm, FluencyRule } from './fluency.ts';
import type { RewardRule } from './reward.ts';

const fluency = z
  .strictObject({
    form: z.enum(['sum', 'mean', 'capped', 'min-k-gate']).default('sum').describe('how log p_ref enters the reward'),
    cap: z
      .union([z.literal('reference'), z.number().max(0)])
      .default('reference')
      .describe(
        'capped: nats a token; an attack at least as likely gains nothing by being likelier; reference: the median of attacks that the reference draws',
      ),
    k: positiveCount.default(7).describe('min-k-gate: how many of the lowest token log-probs are averaged'),
    threshold: z.number().default(-10).describe('min-k-gate: the average (nats) below which the gate closes'),
    penalty: z.number().max(0).default(-300).describe('min-k-gate: the term (nats) of a closed gate'),
    shortPenalty: z
      .number()
      .max(0)
      .default(-500)
      .describe('the term (nats) of an attack under attacker.minTokens, whatever the form'),
  })
  .prefault({})
  .describe('keeps attacks readable: without it the attacker finds gibberish that fools the judge');

/** Section `reward`: the reward of an attack, for every attacker that learns from rewards. */
export const rewardSection = z
  .strictObject({
    beta: positive.default(0.1).describe('weight of the judge: log S enters as log S / beta'),
    gamma: schedule(1, 1, 2000).describe('log p_ref enters as log p_ref / gamma'),
    temperature: schedule(2, 1, 1000).describe('reward temperature T: log R = (...) / T'),
    fluency,
    unsafeFloor: share
      .min(1e-12)
      .max(0.1)
      .default(1e-6)
      .describe('smallest P(unsafe) that enters a logarithm; recorded in the manifest'),
    truncationPenalty: z
      .boolean()
      .default(false)
      .describe('adds log p_ref(end) to the reward of an attack cut at attacker.maxTokens'),
  })
  .prefault({})
  .describe('the reward of an attack: log R = (log p_ref / gamma + log S / beta) / T');

export type RewardSettings = z.output<typeof rewardSection>;

/** How the reward is composed. */
export function rewardRule({ beta, gamma, temperature }: RewardSettings): RewardRule {
  return { beta, gamma, temperature };
}

/** How log p_ref enters the reward. @param minTokens attacks with fewer tokens count as short. */
export function referenceRule(
  { fluency: settings, truncationPenalty }: RewardSettings,
  minTokens: number,
): { readonly fluency: FluencyRule; readonly truncationPenalty: boolean } {
  return {
    fluency: { form: fluencyForm(settings), minTokens, shortPenalty: settings.shortPenalty },
    truncationPenalty,
  };
}

/** @throws TypeError while `cap` names the reference, whose samples must be measured first. */
function fluencyForm({ form, cap, k, threshold, penalty }: RewardSettings['fluency']): FluencyForm {
  switch (form) {
    case 'min-k-gate':
      return { kind: form, k, threshold, penalty };
    case 'capped':
      if (cap === 'reference') throw new TypeError('reward.fluency.cap: the reference was not measured');
      return { kind: form, cap };
    default:
      return { kind: form };
  }
}
