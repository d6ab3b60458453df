import { z } from 'zod';
import { judgeConfigSchema } from '../judges/judge-config.ts';

/** The judge that rewards, and the judges that measure. A judge used as reward is no independent evidence. */
export const judgesSection = z
  .strictObject({
    training: judgeConfigSchema.describe('gives the reward'),
    evaluation: z
      .array(judgeConfigSchema)
      .min(1)
      .describe('measure the result; name at least one other than the training judge'),
  })
  .describe('what scores an attack and its response with P(unsafe)');
