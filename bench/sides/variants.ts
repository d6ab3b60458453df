import { FloodgateError } from '../../src/base/errors.ts';
import type { GeneratorOptions } from '../../src/models/decoder/generator.ts';

/** Ways to hold frozen weights: what each adds to the options of a generator that samples from them. */
const VARIANTS: Readonly<Record<string, Partial<GeneratorOptions>>> = {
  fp32: {},
};

/** @throws FloodgateError `usage` for a name that is no variant. */
export function variantOptions(name: string): Partial<GeneratorOptions> {
  const variant = VARIANTS[name];
  if (variant !== undefined) return variant;
  throw new FloodgateError('usage', `bench: got variant ${name}, expected one of ${Object.keys(VARIANTS).join(', ')}`);
}
