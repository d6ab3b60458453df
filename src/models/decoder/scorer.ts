import type { Tensor } from 'onnxruntime-node';
import { append } from '../../base/long-lists.ts';
import { makeOrClose, openTogether } from '../../base/open-together.ts';
import { GraphBuilder } from '../../engine/graph/builder.ts';
import { symbolSize } from '../../engine/graph/size.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor, int64Tensor } from '../../engine/runtime/tensors.ts';
import type { ModelOptions } from './declare-model.ts';
import { openPrefillSession } from './inference-graphs.ts';
import {
  groupRows,
  type RowBatch,
  refuseEmptyRows,
  streamFeeds,
  type TokenRow,
  withFilledPrefix,
} from './row-batch.ts';
import { bannedLogits, notFinite, type TokenBans } from './sampler.ts';

export interface ScorerOptions extends ModelOptions {
  readonly bans: TokenBans;
}

/** Logits of one pass, 134 MB: rows beyond it go into a further one. */
const MAX_LOGITS = 2 ** 25;

/**
 * Scores given tokens under the distribution that the sampler draws from. It has the generator's session for prompts,
 * and one that reads log-probs from logits: no session, and no mapping of the weights, of its own.
 */
export class Scorer {
  private readonly prefill: GraphSession;
  private readonly reader: GraphSession;
  private readonly options: ScorerOptions;
  private logits = new Float32Array(0);

  constructor(sessions: { readonly prefill: GraphSession; readonly reader: GraphSession }, options: ScorerOptions) {
    this.prefill = sessions.prefill;
    this.reader = sessions.reader;
    this.options = options;
  }

  /**
   * Log-prob of each token of each row, given the prompt and the tokens before it.
   *
   * @param state trained tensors and `loraScale` (0 scores the base model); none for a frozen model.
   * @throws FloodgateError `model` when a log-prob is NaN or infinite.
   */
  async score(
    { prompt, rows }: RowBatch,
    minTokens: number,
    state: Readonly<Record<string, Tensor>> = {},
  ): Promise<Float32Array[]> {
    refuseEmptyRows(rows);
    const maxTokens = MAX_LOGITS / this.options.config.vocabSize;
    const lengths = rows.map((row) => row.length);
    const scored: Float32Array[] = [];
    for (const [start, end] of groupRows(lengths, { maxRows: rows.length, maxTokens })) {
      append(scored, await this.scoreGroup({ prompt, rows: rows.slice(start, end) }, minTokens, state));
    }
    if (!scored.every((row) => row.every(Number.isFinite))) {
      throw notFinite(this.options.spec ?? this.options.weights.path);
    }
    return scored;
  }

  private async scoreGroup(
    { prompt, rows }: RowBatch,
    minTokens: number,
    state: Readonly<Record<string, Tensor>>,
  ): Promise<Float32Array[]> {
    const M = rows.reduce((sum, row) => sum + row.length, 0);
    const logits = await this.runModel({ prompt, rows }, M, state);
    const logProbs = new Float32Array(M);
    const endBan = rows.flatMap((row) => row.map((_, t) => (t < minTokens ? 1 : 0)));
    await this.reader.run(
      { logits, ids: int64Tensor(rows.flat(), [M]), endBan: float32Tensor(Float32Array.from(endBan), [M]) },
      { tokenLogProb: float32Tensor(logProbs, [M]) },
    );
    let next = 0;
    return rows.map((row) => {
      next += row.length;
      return logProbs.slice(next - row.length, next);
    });
  }

  /** Logits [M, V] at the positions that predict the rows' tokens, row by row without padding. */
  private async runModel({ prompt, rows }: RowBatch, M: number, state: Readonly<Record<string, Tensor>>) {
    const V = this.options.config.vocabSize;
    const last = prompt.at(-1) as number;
    const streams = rows.map((row): TokenRow => [last, ...row.slice(0, -1)]);
    const feeds = withFilledPrefix(streamFeeds(prompt, streams), this.prefill.device);
    const R = feeds.rowIds?.dims[1] as number;
    const wanted = rows.flatMap((row, b) => row.map((_, t) => b * R + t));
    const trained = Object.entries(state).filter(([name]) => this.prefill.inputNames.includes(name));
    if (this.logits.length < M * V) this.logits = new Float32Array(M * V);
    const logits = float32Tensor(this.logits.subarray(0, M * V), [M, V]);
    await this.prefill.run(
      { ...feeds, wanted: int64Tensor(wanted, [M]), ...Object.fromEntries(trained) },
      { logits }, // naming this output avoids copying keys and values
    );
    return logits;
  }

  async close(): Promise<void> {
    await Promise.all([this.prefill.close(), this.reader.close()]);
  }
}

/** logits [M, V], ids [M], endBan [M] -> the log-prob of each id under the sampler [M]. */
function buildReaderGraph({ config, bans }: ScorerOptions) {
  const g = new GraphBuilder();
  const M = symbolSize('M');
  const logits = g.input('logits', 'float32', [M, config.vocabSize]);
  const ids = g.input('ids', 'int64', [M]);
  const endBan = g.input('endBan', 'float32', [M]);
  g.output('tokenLogProb', g.tokenLogProb(g.add(logits, bannedLogits(g, endBan, bans, config.vocabSize)), ids));
  return g.build();
}

/** Opens a scorer. It shares the session for prompts with a generator of the same model. */
export async function openScorer(options: ScorerOptions, compute: ComputeOptions): Promise<Scorer> {
  const { profilePrefix: _ofTheModel, ...own } = compute;
  const opened = await openTogether([
    () => openPrefillSession(options, compute),
    () => openSession(buildReaderGraph(options), { ...own, device: 'cpu', label: 'log-probs of tokens' }),
  ]);
  const [prefill, reader] = opened;
  return makeOrClose(opened, () => new Scorer({ prefill, reader }, options));
}
