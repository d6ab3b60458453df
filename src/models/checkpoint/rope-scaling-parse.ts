import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import type { RopeScaling } from './decoder-config.ts';

/** A frequency or factor that is finite and positive; anything else turns every position into NaN. */
const positive = z.number().positive().finite();

/** `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5, which keeps `rope_theta` in it as well). */
const ropeParameters = z.looseObject({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: positive.nullish(),
  factor: positive.nullish(),
  partial_rotary_factor: z.number().nullish(),
  original_max_position_embeddings: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  attention_factor: positive.nullish(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  mscale: z.number().nonnegative().finite().nullish(),
  mscale_all_dim: z.number().nonnegative().finite().nullish(),
  truncate: z.boolean().nullish(),
});

/** The RoPE fields of a config.json, for the config's own schema to include. */
export const ropeFields = {
  rope_theta: positive.nullish(),
  rope_scaling: ropeParameters.nullish(),
  rope_parameters: ropeParameters.nullish(),
  partial_rotary_factor: z.number().nullish(),
};

export interface RopeInput {
  readonly rope_theta?: number | null | undefined;
  readonly rope_scaling?: RopeParameters | null | undefined;
  readonly rope_parameters?: RopeParameters | null | undefined;
  readonly partial_rotary_factor?: number | null | undefined;
}

type RopeParameters = z.infer<typeof ropeParameters>;

/** What `transformers` takes where neither style names a base. */
const DEFAULT_ROPE_BASE = 10_000;

function fail(what: string): FloodgateError {
  return new FloodgateError('format', `read rope scaling: ${what}`);
}

function required(value: number | null | undefined, key: string, kind: string): number {
  if (value === null || value === undefined) throw fail(`${kind} needs ${key}, got nothing`);
  return value;
}

/** How much YaRN scales queries and keys (arXiv 2309.00071, eq. 22), with DeepSeek's two optional factors. */
export function yarnAttentionFactor(factor: number, mscale?: number | null, mscaleAllDims?: number | null): number {
  const scaled = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale && mscaleAllDims ? scaled(mscale) / scaled(mscaleAllDims) : scaled(1);
}

function parseScaling(parameters: RopeParameters, maxPositions: number): RopeScaling {
  const kind = parameters.rope_type ?? parameters.type ?? 'default';
  const originalMaxPositions = parameters.original_max_position_embeddings ?? maxPositions;
  switch (kind) {
    case 'default':
      return { kind: 'none' };
    case 'linear':
      return { kind: 'linear', factor: required(parameters.factor, 'factor', kind) };
    case 'llama3':
      return {
        kind: 'llama3',
        factor: required(parameters.factor, 'factor', kind),
        lowFrequencyFactor: required(parameters.low_freq_factor, 'low_freq_factor', kind),
        highFrequencyFactor: required(parameters.high_freq_factor, 'high_freq_factor', kind),
        originalMaxPositions,
      };
    case 'yarn': {
      if (parameters.truncate === false) throw fail('yarn with truncate false is not supported');
      const factor = parameters.factor ?? maxPositions / originalMaxPositions;
      return {
        kind: 'yarn',
        factor,
        originalMaxPositions,
        betaFast: parameters.beta_fast ?? 32,
        betaSlow: parameters.beta_slow ?? 1,
        attentionFactor:
          parameters.attention_factor ?? yarnAttentionFactor(factor, parameters.mscale, parameters.mscale_all_dim),
      };
    }
    default:
      throw fail(`rope type ${JSON.stringify(kind)} is not supported, expected default, linear, llama3 or yarn`);
  }
}

/**
 * Base and scaling of the rotary positions, from either style of config.
 * @throws `format` for scalings that are not supported (dynamic, longrope, partial rotation) or lack a factor.
 */
export function parseRope(input: RopeInput, maxPositions: number): { ropeBase: number; ropeScaling: RopeScaling } {
  const parameters = input.rope_scaling ?? input.rope_parameters ?? {};
  if ('full_attention' in parameters || 'sliding_attention' in parameters) {
    throw fail('different rotary positions for different layers are not supported');
  }
  const rotated = parameters.partial_rotary_factor ?? input.partial_rotary_factor ?? 1;
  if (rotated !== 1) throw fail(`partial_rotary_factor is ${rotated}, expected 1`);
  const ropeBase = parameters.rope_theta ?? input.rope_theta ?? DEFAULT_ROPE_BASE;
  return { ropeBase, ropeScaling: parseScaling(parameters, maxPositions) };
}
