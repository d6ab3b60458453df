import { FloodgateError } from '../../src/base/errors.ts';
import type { DecoderConfig } from '../../src/models/checkpoint/decoder-config.ts';
import type { GeneratorOptions } from '../../src/models/decoder/generator.ts';
import { openInt8Weights } from '../../src/models/decoder/int8-weights.ts';
import type { WeightStore } from '../../src/models/formats/weight-store.ts';

type VariantOptions = Partial<GeneratorOptions>;

/** Ways to hold frozen weights: what each adds to the options of a generator that samples from them. */
const VARIANTS: Readonly<Record<string, (config: DecoderConfig, weights: WeightStore) => Promise<VariantOptions>>> = {
  fp32: async () => ({}),
  int8: async (config, weights) => ({
    int8: { store: await openInt8Weights(config, weights), activation: 'per-tensor' },
  }),
};

/** @throws FloodgateError `usage` for a name that is no variant. */
export async function variantOptions(
  name: string,
  config: DecoderConfig,
  weights: WeightStore,
): Promise<VariantOptions> {
  const variant = VARIANTS[name];
  if (variant !== undefined) return variant(config, weights);
  throw new FloodgateError('usage', `bench: got variant ${name}, expected one of ${Object.keys(VARIANTS).join(', ')}`);
}
