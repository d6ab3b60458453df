import { z } from 'zod';
import { count, share } from '../../base/config-fields.ts';

/** The limits of a gate; each is optional, and one that is absent is not checked. */
export const gateSection = z
  .strictObject({
    successRate: share.optional().describe('most share of fresh attacks that may succeed, for every attacker'),
    ways: count.optional().describe('most ways of success, by their causes, for every attacker'),
    newWays: count.optional().describe('most ways that the baseline does not have'),
    replayed: share.optional().describe("most share of the baseline's successes that may still succeed"),
    referenceFailureRate: share
      .optional()
      .describe('most probability that an attack like the seeds succeeds, for every attacker that estimates it'),
    overRefusal: share.optional().describe('most share of harmless prompts (evaluation.controls) that may be refused'),
  })
  .prefault({})
  .describe('limits of floodgate ci: the whole interval of a figure must lie within its limit');

export type GateLimits = z.output<typeof gateSection>;
