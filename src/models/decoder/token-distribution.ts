import { GraphBuilder } from '../../engine/graph/builder.ts';
import { symbolSize } from '../../engine/graph/size.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';
import { samplerLogits, type TokenBans } from './sampler-logits.ts';

/** What the sampler draws from, for M rows of logits. */
export interface Distribution {
  /** Tempered probabilities [M, V]. */
  readonly probabilities: Float32Array;
  /** Log-probs at temperature 1 [M, V], when asked for at opening. */
  readonly logProbs: Float32Array | undefined;
}

/** Turns logits into the sampler's distribution with the runtime's vectorised kernels. */
export class TokenDistribution {
  private readonly session: GraphSession;
  private readonly vocabulary: number;
  private probabilities = new Float32Array(0);
  private logProbs = new Float32Array(0);
  private readonly withLogProbs: boolean;

  constructor(session: GraphSession, vocabulary: number, withLogProbs: boolean) {
    this.session = session;
    this.vocabulary = vocabulary;
    this.withLogProbs = withLogProbs;
  }

  /**
   * @param logits [M, V]
   * @param temperatures [M]
   * @param endBan 1 where end tokens are banned [M]
   * @returns views that the next call overwrites.
   */
  async of(logits: Float32Array, temperatures: Float32Array, endBan: Float32Array): Promise<Distribution> {
    const rows = temperatures.length;
    const shape = [rows, this.vocabulary];
    const size = rows * this.vocabulary;
    if (this.probabilities.length < size) {
      this.probabilities = new Float32Array(size);
      if (this.withLogProbs) this.logProbs = new Float32Array(size);
    }
    const probabilities = this.probabilities.subarray(0, size);
    const logProbs = this.withLogProbs ? this.logProbs.subarray(0, size) : undefined;
    await this.session.run(
      {
        logits: float32Tensor(logits, shape),
        inverseTemperature: float32Tensor(
          temperatures.map((temperature) => 1 / temperature),
          [rows, 1],
        ),
        endBan: float32Tensor(endBan, [rows]),
      },
      {
        probabilities: float32Tensor(probabilities, shape),
        ...(logProbs === undefined ? {} : { logProbs: float32Tensor(logProbs, shape) }),
      },
    );
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
}

export async function openTokenDistribution(
  options: DistributionOptions,
  compute: ComputeOptions,
): Promise<TokenDistribution> {
  const g = new GraphBuilder();
  const M = symbolSize('M');
  const logits = g.input('logits', 'float32', [M, options.vocabSize]);
  const inverseTemperature = g.input('inverseTemperature', 'float32', [M, 1]);
  const endBan = g.input('endBan', 'float32', [M]);
  const allowed = samplerLogits(g, logits, endBan, options.bans);
  g.output('probabilities', g.softmax(g.multiply(allowed, inverseTemperature)));
  if (options.withLogProbs) g.output('logProbs', g.logSoftmax(allowed));
  const session = await openSession(g.build(), { ...compute, device: 'cpu', label: 'token distribution' });
  return new TokenDistribution(session, options.vocabSize, options.withLogProbs);
}
