import { z } from 'zod';

/** The kinds of number and text that config sections share, each with its own range. */

export const positiveCount = z.number().int().min(1);
export const count = z.number().int().min(0);
export const positive = z.number().positive();
export const nonNegative = z.number().min(0);
export const share = z.number().min(0).max(1);
/** Text on one line: it goes into manifests and reports as it is. */
export const line = z
  .string()
  .trim()
  .min(1)
  .max(2000)
  .regex(/^[^\r\n\0]*$/, 'must be one line');

/** A run's name is also its folder's: no separators, no leading dot. */
export const RUN_NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** A value that moves linearly from `from` to `to` over the first `updates` updates and then stays. */
export const schedule = (from: number, to: number, updates: number) =>
  z
    .strictObject({
      from: positive.default(from).describe('value at the first update'),
      to: positive.default(to).describe('value from update number `updates` on'),
      updates: count.default(updates).describe('updates from `from` to `to`; 0 = `to` at once'),
    })
    .prefault({});
