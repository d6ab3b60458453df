import { z } from 'zod';
import { ATTACKERS } from './attacker-names.ts';
import { positiveCount } from './config-fields.ts';

/** Which attackers a run trains and measures, side by side. */
export const attackersSection = z
  .array(z.enum(ATTACKERS))
  .min(1)
  .default(['sft', 'gflownet', 'smoothing'])
  .describe('attackers to train and measure; what one of them needs (such as sft) is trained too');

export const bestOfNSection = z
  .strictObject({
    targetCalls: positiveCount
      .optional()
      .describe('budget of all its attacks together; as many as GFlowNet and smoothing used when absent'),
  })
  .prefault({})
  .describe('attacker best-of-n: each of its attacks is the best of n drawn from the reference');

export const iclSection = z
  .strictObject({
    examples: positiveCount.max(64).default(5).describe('seed attacks in the context of each attack'),
  })
  .prefault({})
  .describe('attacker icl: the untrained model with seed attacks in context');
