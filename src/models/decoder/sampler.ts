import { FloodgateError } from '../../base/errors.ts';
import { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { type Size, symbolSize } from '../../engine/graph/size.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';

/** A logit so low that exp() is exactly 0 in fp32, yet finite, so that no gradient becomes NaN. */
export const BANNED_LOGIT = -1e9;

/** Tokens that the sampler never draws, and tokens that end a sequence (banned only before the minimum length). */
export interface TokenBans {
  readonly always: readonly number[];
  readonly end: readonly number[];
}

/**
 * The sampler's bans, to be added to logits [N, V]: tokens that are always banned, and end tokens on rows where `endBan`
 * [N] is 1. The log-probs of the sum are those of the sampled distribution. Fresh, replayed and reference log-probs
 * therefore all count the same set of tokens. The bans are one product, which a head takes as its bias.
 */
export function bannedLogits(g: GraphBuilder, bans: TokenBans, vocabulary: number): (endBan: Value) => Value {
  const always = new Float32Array(vocabulary);
  const end = new Float32Array(vocabulary);
  for (const id of bans.always) always[id] = BANNED_LOGIT;
  for (const id of bans.end) if (always[id] === 0) end[id] = BANNED_LOGIT;
  const row = (values: Float32Array): Value => g.constant('float32', [1, vocabulary], values);
  const [ofEnd, ofAll] = [row(end), row(always)];
  return (endBan) => g.linear(g.reshape(endBan, [endBan.shape[0] as Size, 1]), ofEnd, 'inOut', ofAll); // [N, V]
}

/** The same in place, on logits that are no longer needed: a few numbers instead of passes over the vocabulary. */
function banTokens(logits: Float32Array, endBan: Float32Array, { always, end }: TokenBans): void {
  const vocabulary = logits.length / endBan.length;
  const banned = new Set(always);
  const onlyAtEnd = end.filter((id) => !banned.has(id));
  for (let row = 0; row < endBan.length; row++) {
    const ids = endBan[row] === 1 ? [...banned, ...onlyAtEnd] : banned;
    for (const id of ids) {
      const at = row * vocabulary + id;
      logits[at] = (logits[at] as number) + BANNED_LOGIT;
    }
  }
}

/** The error of a model whose logits hold NaN or infinity: whatever is drawn or scored from them means nothing. */
export function notFinite(model: string): FloodgateError {
  return new FloodgateError('model', `run ${model}: its logits are not finite numbers`, {
    hint: 'its weights hold NaN or infinity, or its config does not fit them: fetch or convert the model again',
  });
}

/** The sampler's distribution for M rows of logits. */
export interface Distribution {
  /** Tempered probabilities [M, V]. */
  readonly probabilities: Float32Array;
  /** Log-probs at temperature 1 [M, V], when requested at opening. */
  readonly logProbs: Float32Array | undefined;
}

/** Turns logits into the sampler's distribution with the runtime's vectorised kernels. */
export class TokenDistribution {
  private readonly session: GraphSession;
  private readonly options: DistributionOptions;
  private probabilities = new Float32Array(0);
  private logProbs = new Float32Array(0);

  constructor(session: GraphSession, options: DistributionOptions) {
    this.session = session;
    this.options = options;
  }

  /**
   * @param logits [M, V]; those of banned tokens are overwritten.
   * @param temperatures [M]
   * @param endBan 1 where end tokens are banned [M]
   * @returns views that the next call overwrites.
   * @throws FloodgateError `model` when a logit is NaN or +infinity; one of -infinity is never drawn.
   */
  async of(logits: Float32Array, temperatures: Float32Array, endBan: Float32Array): Promise<Distribution> {
    const rows = temperatures.length;
    const { vocabSize, withLogProbs, bans, model } = this.options;
    banTokens(logits, endBan, bans);
    const shape = [rows, vocabSize];
    const size = rows * vocabSize;
    if (this.probabilities.length < size) {
      this.probabilities = new Float32Array(size);
      if (withLogProbs) this.logProbs = new Float32Array(size);
    }
    const probabilities = this.probabilities.subarray(0, size);
    const logProbs = withLogProbs ? this.logProbs.subarray(0, size) : undefined;
    await this.session.run(
      {
        logits: float32Tensor(logits, shape),
        inverseTemperature: float32Tensor(
          temperatures.map((temperature) => 1 / temperature),
          [rows, 1],
        ),
      },
      {
        probabilities: float32Tensor(probabilities, shape),
        ...(logProbs === undefined ? {} : { logProbs: float32Tensor(logProbs, shape) }),
      },
    );
    // One such logit makes every probability of its row NaN, so one read a row sees it.
    for (let start = 0; start < size; start += vocabSize) {
      if (Number.isNaN(probabilities[start])) throw notFinite(model);
    }
    return { probabilities, logProbs };
  }

  async close(): Promise<void> {
    await this.session.close();
  }
}

export interface DistributionOptions {
  readonly vocabSize: number;
  readonly bans: TokenBans;
  readonly withLogProbs: boolean;
  /** Name of the model in errors. */
  readonly model: string;
}

export async function openTokenDistribution(
  options: DistributionOptions,
  compute: ComputeOptions,
): Promise<TokenDistribution> {
  const g = new GraphBuilder();
  const M = symbolSize('M');
  const allowed = g.input('logits', 'float32', [M, options.vocabSize]);
  const inverseTemperature = g.input('inverseTemperature', 'float32', [M, 1]);
  g.output('probabilities', g.softmax(g.multiply(allowed, inverseTemperature)));
  if (options.withLogProbs) g.output('logProbs', g.logSoftmax(allowed));
  const { profilePrefix: _ofTheModel, ...own } = compute;
  const session = await openSession(g.build(), { ...own, device: 'cpu', label: 'token distribution' });
  return new TokenDistribution(session, options);
}
