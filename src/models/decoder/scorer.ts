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

/** Logits of one pass, 34 MB: rows beyond it go into a further one. */
const MAX_LOGITS = 2 ** 23;
/** Positions whose log-probs are read at once, or as many as have this many logits: the reader holds them a few times over. */
const READ_ROWS = 64;
const READ_LOGITS = 2 ** 18;

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
    const endBan = rows.flatMap((row) => row.map((_, t) => (t < minTokens ? 1 : 0)));
    const logProbs = await this.readLogProbs(logits, rows.flat(), Float32Array.from(endBan));
    let next = 0;
    return rows.map((row) => {
      next += row.length;
      return logProbs.slice(next - row.length, next);
    });
  }

  /** The log-prob of each id [M] by its logits [M, V], a few rows at once. */
  private async readLogProbs(
    logits: Float32Array,
    ids: readonly number[],
    endBan: Float32Array,
  ): Promise<Float32Array> {
    const V = this.options.config.vocabSize;
    const logProbs = new Float32Array(ids.length);
    const atOnce = Math.max(READ_ROWS, Math.floor(READ_LOGITS / V));
    for (let from = 0; from < ids.length; from += atOnce) {
      const to = Math.min(ids.length, from + atOnce);
      const n = to - from;
      await this.reader.run(
        {
          logits: float32Tensor(logits.subarray(from * V, to * V), [n, V]),
          ids: int64Tensor(ids.slice(from, to), [n]),
          endBan: float32Tensor(endBan.subarray(from, to), [n]),
        },
        { tokenLogProb: float32Tensor(logProbs.subarray(from, to), [n]) },
      );
    }
    return logProbs;
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
    const logits = this.logits.subarray(0, M * V);
    await this.prefill.run(
      { ...feeds, wanted: int64Tensor(wanted, [M]), ...Object.fromEntries(trained) },
      { logits: float32Tensor(logits, [M, V]) }, // naming this output avoids copying keys and values
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
  g.output('tokenLogProb', g.tokenLogProb(g.add(logits, bannedLogits(g, bans, config.vocabSize)(endBan)), ids));
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
