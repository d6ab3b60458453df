import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { float32Data, int64Tensor } from '../../engine/runtime/tensors.ts';
import type { ModelOptions } from './declare-model.ts';
import { openPrefillSession } from './inference-graphs.ts';
import { streamFeeds, withFilledPrefix } from './row-batch.ts';

/** Distance of one form of a model (int8, say) from another on the same texts. */
export interface Divergence {
  /** Mean KL(reference || other), nats per token. */
  readonly klPerToken: number;
  /** Share of positions at which both forms give the same most likely token. */
  readonly topAgreement: number;
  readonly referencePerplexity: number;
  readonly otherPerplexity: number;
  /** Positions compared. */
  readonly tokens: number;
}

/** Log-softmax of one row, in float64. */
function logSoftmax(logits: Float32Array): Float64Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  const offset = largest + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - offset);
}

function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** Logits after every token of one text but the last [T-1, V]. */
async function textLogits(
  options: ModelOptions,
  ids: readonly number[],
  compute: ComputeOptions,
): Promise<Float32Array> {
  await using session = await openPrefillSession(options, compute);
  const stream = ids.slice(0, -1);
  const wanted = stream.map((_, t) => t);
  const feeds = withFilledPrefix(streamFeeds([0], [stream]), session.device);
  const outputs = await session.run({ ...feeds, wanted: int64Tensor(wanted, [wanted.length]) });
  return float32Data(outputs.logits).slice();
}

/** Compares two forms of one model on texts (token ids, at least two each). Each text runs alone and from its start. */
export async function measureDivergence(
  reference: ModelOptions,
  other: ModelOptions,
  texts: readonly (readonly number[])[],
  compute: ComputeOptions,
): Promise<Divergence> {
  const vocabulary = reference.config.vocabSize;
  const totals = { kl: 0, agreed: 0, reference: 0, other: 0, tokens: 0 };
  for (const ids of texts) {
    const a = await textLogits(reference, ids, compute);
    const b = await textLogits(other, ids, compute);
    for (let t = 0; t + 1 < ids.length; t++) {
      const p = logSoftmax(a.subarray(t * vocabulary, (t + 1) * vocabulary));
      const q = logSoftmax(b.subarray(t * vocabulary, (t + 1) * vocabulary));
      for (let id = 0; id < vocabulary; id++)
        totals.kl += Math.exp(p[id] as number) * ((p[id] as number) - (q[id] as number));
      if (argmax(p) === argmax(q)) totals.agreed++;
      totals.reference -= p[ids[t + 1] as number] as number;
      totals.other -= q[ids[t + 1] as number] as number;
      totals.tokens++;
    }
  }
  const { tokens } = totals;
  return {
    klPerToken: totals.kl / tokens,
    topAgreement: totals.agreed / tokens,
    referencePerplexity: Math.exp(totals.reference / tokens),
    otherPerplexity: Math.exp(totals.other / tokens),
    tokens,
  };
}
