import { z } from 'zod';
import { line, positive } from '../base/config-fields.ts';
import { DEVICES } from '../engine/runtime/device.ts';

/** A model: a local path, `hf:owner/name[@revision]`, `wheel:package==version`, or a name from `floodgate models list`. */
export const modelSpec = line.describe(
  'a path (./ and ../ count from the config file), hf:owner/name[@revision], wheel:package==version, or a catalogue name',
);

/** Where a model runs. `cpu` is the one measured; the others are named to ONNX Runtime as they are. */
export const device = z.enum(DEVICES).describe('execution provider of ONNX Runtime');

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
