import { FloodgateError } from '../../base/errors.ts';
import type { RopeScaling } from './decoder-config.ts';

type Llama3Scaling = Extract<RopeScaling, { kind: 'llama3' }>;

/** What every Llama 3.x model was published with. */
const LLAMA3 = { lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 } as const;
/** llama.cpp's converter computes the factors in fp32. */
const RELATIVE_TOLERANCE = 1e-4;

/** What each rotary frequency is divided by under Llama 3's scaling: 1 for fast ones, `factor` for slow ones. [K/2] */
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
 * The Llama 3 scaling that gives these divisors (`rope_freqs.weight` of a GGUF file).
 * @throws `format` when they are no Llama 3 scaling over 8,192 trained positions.
 */
export function recoverLlama3Scaling(divisors: Float32Array, ropeBase: number): RopeScaling {
  const factor = divisors.at(-1) ?? 1;
  if (divisors.every((divisor) => divisor === 1)) return { kind: 'none' };
  const scaling: Llama3Scaling = { kind: 'llama3', factor, ...LLAMA3 };
  const expected = llama3FrequencyDivisors(scaling, ropeBase, 2 * divisors.length);
  const isMatch = divisors.every((divisor, i) => {
    const wanted = expected[i] as number;
    return Math.abs(divisor - wanted) <= RELATIVE_TOLERANCE * wanted;
  });
  if (!isMatch) throw new FloodgateError('format', 'read rope_freqs.weight: not the factors of a Llama 3 scaling');
  return scaling;
}
