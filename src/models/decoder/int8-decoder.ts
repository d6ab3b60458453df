import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { type Graph, GraphBuilder } from '../../engine/graph/builder.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../checkpoint/checkpoint.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import { type Int8Store, openInt8Weights } from '../quantised/int8-weights.ts';
import { OBSERVED_TEXTS, observedName, observeInputs } from '../quantised/observe-inputs.ts';
import type { ChannelMaxima, QuantisedLinear } from '../quantised/quantise.ts';
import { encodePlainPrompt, renderChatIds } from '../tokenizer/prompt-ids.ts';
import { declareModel, type ModelOptions } from './declare-model.ts';
import { decoderProjections, headWeight, projectionLayout } from './lora.ts';
import { streamFeeds, withFilledPrefix } from './row-batch.ts';
import { declareSharedPrefix } from './shared-prefix.ts';
import { createTrunk } from './trunk.ts';

/** Every linear map of a decoder: the projections, layer by layer, and the head. */
export function quantisedLinears(config: DecoderConfig): QuantisedLinear[] {
  const layout = projectionLayout(config);
  const head: QuantisedLinear = {
    weight: headWeight(config),
    inSize: config.width,
    outSize: config.vocabSize,
    layout: 'outIn',
  };
  return [
    ...decoderProjections(config).map(({ module, ...sizes }) => ({ weight: `${module}.weight`, ...sizes, layout })),
    head,
  ];
}

/** The fp32 model over rows that share a prefix; it returns the input of every linear map. */
function buildObservedGraph(options: ModelOptions): Graph {
  const g = new GraphBuilder();
  const trunk = createTrunk({
    ...declareModel(g, options, { differentiable: false }),
    observe: (weight, x) => g.output(observedName(weight), x),
  });
  const tokens = declareSharedPrefix(g, options.config, options.contextTokens);
  trunk.logits(trunk.finalNorm(trunk.hidden(tokens.ids, tokens.positions, tokens.attend)));
  return g.build();
}

/** Longest text that is observed: activations of every layer are kept. */
const MAX_OBSERVED_TOKENS = 64;

/** Token ids on which a model's inputs are observed: each text as a chat, as it is where no template renders it. */
function observedIds({ tokenizer, chatTemplate }: Pick<DecoderCheckpoint, 'tokenizer' | 'chatTemplate'>): number[][] {
  const plain = (text: string): number[] => encodePlainPrompt(tokenizer, text, { parseSpecial: false });
  if (chatTemplate === undefined) return OBSERVED_TEXTS.map(plain);
  try {
    return OBSERVED_TEXTS.map((content) => renderChatIds(chatTemplate, tokenizer, [{ role: 'user', content }]));
  } catch (error) {
    if (error instanceof FloodgateError) return OBSERVED_TEXTS.map(plain); // a template may demand a system message
    throw error;
  }
}

/**
 * Opens the int8 weights of a decoder; makes them once, beside its fp32 weight file.
 *
 * @param texts token ids on which the inputs are observed.
 * @throws FloodgateError `store` when the disk refuses.
 */
export function openInt8Decoder(
  { config, weights }: { readonly config: DecoderConfig; readonly weights: WeightStore },
  texts: readonly (readonly number[])[],
  compute: ComputeOptions,
  progress?: ProgressSink,
): Promise<Int8Store> {
  const linears = quantisedLinears(config);
  const observe = (): Promise<ChannelMaxima> => {
    const cut = texts.map((ids) => ids.slice(0, Math.min(MAX_OBSERVED_TOKENS, config.maxPositions)));
    const graph = buildObservedGraph({ config, weights, contextTokens: MAX_OBSERVED_TOKENS });
    const feeds = cut.map((ids) => withFilledPrefix(streamFeeds([0], [ids]), compute.device));
    return observeInputs(graph, linears, { feeds, weightPath: weights.path }, compute);
  };
  return openInt8Weights(linears, weights, observe, progress);
}

/** The same for a checkpoint, by its own tokenizer. */
export function openInt8Checkpoint(
  checkpoint: DecoderCheckpoint,
  compute: ComputeOptions,
  progress?: ProgressSink,
): Promise<Int8Store> {
  return openInt8Decoder(checkpoint, observedIds(checkpoint), compute, progress);
}
