import { FloodgateError } from '../../src/base/errors.ts';
import { randomStream } from '../../src/base/random.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import type { DecoderConfig } from '../../src/models/checkpoint/decoder-config.ts';
import type { GeneratorOptions } from '../../src/models/decoder/generator.ts';
import { openInt8Decoder } from '../../src/models/decoder/int8-decoder.ts';
import type { WeightStore } from '../../src/models/formats/weight-store.ts';

type VariantOptions = Partial<GeneratorOptions>;

interface Frozen {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
}

/** Texts on which an int8 model's inputs are observed: as random as those that it reads here. */
const OBSERVED_TEXTS = 8;
const OBSERVED_TOKENS = 40;

function observedIds({ vocabSize }: DecoderConfig): number[][] {
  const stream = randomStream(0, 'bench', 'observed');
  return Array.from({ length: OBSERVED_TEXTS }, () =>
    Array.from({ length: OBSERVED_TOKENS }, () => stream.nextInt(vocabSize)),
  );
}

/** Ways to hold frozen weights: what each adds to the options of a generator that samples from them. */
const VARIANTS: Readonly<Record<string, (model: Frozen, compute: ComputeOptions) => Promise<VariantOptions>>> = {
  fp32: async () => ({}),
  int8: async (model, compute) => ({ int8: await openInt8Decoder(model, observedIds(model.config), compute) }),
};

/** @throws FloodgateError `usage` for a name that is no variant. */
export async function variantOptions(name: string, model: Frozen, compute: ComputeOptions): Promise<VariantOptions> {
  const variant = VARIANTS[name];
  if (variant !== undefined) return variant(model, compute);
  throw new FloodgateError('usage', `bench: got variant ${name}, expected one of ${Object.keys(VARIANTS).join(', ')}`);
}
