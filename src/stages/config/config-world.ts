import { z } from 'zod';
import { DEFAULT_WORLD } from '../../worlds/world-spec.ts';
import { nonNegative } from './config-fields.ts';

/** A world of the proving ground in place of real models. */
export const worldSection = z
  .strictObject({
    seed: z
      .number()
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .default(DEFAULT_WORLD.seed)
      .describe('another seed is another world'),
    keys: z
      .number()
      .int()
      .min(24)
      .max(96)
      .multipleOf(24)
      .default(DEFAULT_WORLD.keys)
      .describe('planted keys; a multiple of 24'),
    noise: nonNegative.max(5).default(DEFAULT_WORLD.noise).describe('of the judge, in logits; 0 = none'),
    hardness: nonNegative
      .max(2.5)
      .default(DEFAULT_WORLD.hardness)
      .describe('how little the commonest keys leak: 1 - 0.4 x hardness'),
  })
  .optional()
  .describe('run in a made world, where every way of failing is known; sets attacker, target, judges and encoder');
