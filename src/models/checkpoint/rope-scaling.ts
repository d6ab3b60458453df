import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';

/** RoPE frequency scaling, as `transformers` names it. */
export type RopeScaling =
  | { readonly kind: 'none' }
  | { readonly kind: 'linear'; readonly factor: number }
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly kind: 'yarn';
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly attentionFactor: number;
    };

/** Rotary positions of one kind of layer. */
export interface Rotation {
  readonly ropeBase: number;
  readonly ropeScaling: RopeScaling;
}

/** A finite, positive frequency or factor; any other value turns every position into NaN. */
export const ropeFactor = z.number().positive().finite();

/** `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5, where it also holds `rope_theta`). */
export const ropeParameters = z.looseObject({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: ropeFactor.nullish(),
  factor: ropeFactor.nullish(),
  partial_rotary_factor: z.number().nullish(),
  original_max_position_embeddings: ropeFactor.nullish(),
  low_freq_factor: ropeFactor.nullish(),
  high_freq_factor: ropeFactor.nullish(),
  attention_factor: ropeFactor.nullish(),
  beta_fast: ropeFactor.nullish(),
  beta_slow: ropeFactor.nullish(),
  mscale: z.number().nonnegative().finite().nullish(),
  mscale_all_dim: z.number().nonnegative().finite().nullish(),
  truncate: z.boolean().nullish(),
});

/** The RoPE fields of a config.json, for the config's own schema to include. */
export const ropeFields = {
  rope_theta: ropeFactor.nullish(),
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

/** Base that `transformers` uses where neither style names one. */
const DEFAULT_ROPE_BASE = 10_000;

function fail(what: string): FloodgateError {
  return new FloodgateError('format', `read rope scaling: ${what}`);
}

function required(value: number | null | undefined, key: string, kind: string): number {
  if (value === null || value === undefined) throw fail(`${kind} needs ${key}, got nothing`);
  return value;
}

/** YaRN's scale of queries and keys (arXiv 2309.00071, eq. 22), with DeepSeek's two optional factors. */
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
 * Parses base and scaling of the rotary positions, from either style of config.
 * @throws `format` for unsupported scalings (dynamic, longrope, partial rotation) or when a factor is missing.
 */
export function parseRope(input: RopeInput, maxPositions: number): Rotation {
  const parameters = input.rope_scaling ?? input.rope_parameters ?? {};
  if ('full_attention' in parameters || 'sliding_attention' in parameters) {
    throw fail('different rotary positions for different layers are not supported');
  }
  const rotated = parameters.partial_rotary_factor ?? input.partial_rotary_factor ?? 1;
  if (rotated !== 1) throw fail(`partial_rotary_factor is ${rotated}, expected 1`);
  const ropeBase = parameters.rope_theta ?? input.rope_theta ?? DEFAULT_ROPE_BASE;
  return { ropeBase, ropeScaling: parseScaling(parameters, maxPositions) };
}

type Llama3Scaling = Extract<RopeScaling, { kind: 'llama3' }>;

/** Values with which every Llama 3.x model was published. */
const LLAMA3 = { lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 } as const;
/** llama.cpp's converter computes the factors in fp32. */
const RELATIVE_TOLERANCE = 1e-4;

/** Divisor of each rotary frequency under Llama 3's scaling: 1 for fast ones, `factor` for slow ones. [K/2] */
export function llama3FrequencyDivisors(scaling: Llama3Scaling, ropeBase: number, headWidth: number): Float64Array {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling;
  return Float64Array.from({ length: headWidth / 2 }, (_, i) => {
    const turns = originalMaxPositions / (2 * Math.PI * ropeBase ** ((2 * i) / headWidth)); // over the trained context
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/**
 * Recovers the Llama 3 scaling that gives these divisors (`rope_freqs.weight` of a GGUF file).
 * @throws `format` when no Llama 3 scaling over 8,192 trained positions gives them.
 */
export function recoverLlama3Scaling(divisors: Float32Array, ropeBase: number): RopeScaling {
  const factor = divisors.at(-1) ?? 1;
  if (divisors.every((divisor) => divisor === 1)) return { kind: 'none' };
  const scaling: Llama3Scaling = { kind: 'llama3', factor, ...LLAMA3 };
  const expected = llama3FrequencyDivisors(scaling, ropeBase, 2 * divisors.length);
  const isMatch =
    factor > 0 &&
    divisors.every((divisor, i) => {
      const wanted = expected[i] as number;
      return Math.abs(divisor - wanted) <= RELATIVE_TOLERANCE * wanted;
    });
  if (!isMatch) throw new FloodgateError('format', 'read rope_freqs.weight: not the factors of a Llama 3 scaling');
  return scaling;
}
