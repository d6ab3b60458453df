import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import type { Graph } from '../../engine/graph/builder.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { openSession } from '../../engine/runtime/session.ts';
import { float32Data } from '../../engine/runtime/tensors.ts';
import { type ChannelMaxima, type QuantisedLinear, raiseMaxima } from './quantise.ts';

/**
 * Texts on which the inputs of a model's linear maps are observed, of several kinds: only their magnitudes by channel
 * count, and the model never answers them.
 */
export const OBSERVED_TEXTS: readonly string[] = [
  'Could you explain to me how a rainbow forms, in a few simple sentences?',
  'The committee met on 14 March 1987; of its 212 members, 39 voted against the proposal.',
  'def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result',
  'You are late again! Honestly, I cannot believe that we have to talk about this every single week.',
  'Ingredients: 200 g of flour, two eggs, a pinch of salt. Mix everything, then wait for half an hour.',
  'Der Zug nach Hamburg fährt heute wegen einer Störung leider erst um 17:45 Uhr ab.',
  'She opened the old wooden door, and the smell of rain and dust came back to her at once.',
  'No. Why not? Because nobody asked them before, and nobody will ask them now.',
];

/** The name under which an observed graph returns the input of a linear map. */
export const observedName = (weight: string): string => `input of ${weight}`;

/**
 * The largest magnitude of each input channel on some texts.
 *
 * @param graph the fp32 model, with an output `observedName(weight)` [N, in] for each of `linears`.
 * @param feeds the inputs of one text each.
 */
export async function observeInputs(
  graph: Graph,
  linears: readonly QuantisedLinear[],
  { feeds, weightPath }: { readonly feeds: readonly Readonly<Record<string, Tensor>>[]; readonly weightPath: string },
  compute: ComputeOptions,
): Promise<ChannelMaxima> {
  const maxima = new Map(linears.map(({ weight, inSize }) => [weight, new Float32Array(inSize)]));
  await using session = await openSession(graph, {
    ...compute,
    label: `inputs of ${path.basename(weightPath)}`,
    weightFolder: path.dirname(weightPath),
    prepack: false,
  });
  for (const text of feeds) {
    const outputs = await session.run(text);
    for (const [weight, known] of maxima) raiseMaxima(known, float32Data(outputs[observedName(weight)]));
  }
  return maxima;
}
