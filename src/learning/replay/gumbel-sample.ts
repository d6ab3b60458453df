import type { RandomStream } from '../../base/random.ts';

/**
 * Up to `count` distinct indices drawn without replacement with p = softmax(logWeights), in drawing order.
 * Gumbel top-k: the k largest of `logWeight + Gumbel` are a sample of successive draws without replacement, all in
 * log space, so that weights of e^-1000 neither underflow nor fail. Fewer weights than `count`: all of them.
 */
export function gumbelTopK(logWeights: readonly number[], count: number, stream: RandomStream): number[] {
  return logWeights
    .map((logWeight, index) => ({ index, key: logWeight + stream.nextGumbel() }))
    .sort((a, b) => b.key - a.key || a.index - b.index)
    .slice(0, count)
    .map(({ index }) => index);
}
