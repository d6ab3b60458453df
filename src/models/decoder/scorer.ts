import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import { maxOf } from '../../base/long-lists.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';
import type { ModelOptions } from './declare-model.ts';
import { buildScoreGraph } from './inference-graphs.ts';
import { type RowBatch, rowFeeds } from './row-batch.ts';
import { notFinite, type TokenBans } from './sampler.ts';

/** Scores given tokens under the distribution that the sampler draws from. */
export class Scorer {
  private readonly session: GraphSession;
  private readonly model: string;

  /** @param model its name in errors. */
  constructor(session: GraphSession, model: string) {
    this.session = session;
    this.model = model;
  }

  /**
   * Log-prob of each token of each row, given the prompt and the tokens before it.
   *
   * @param state trained tensors and `loraScale` (0 scores the base model); none for a frozen model.
   * @throws FloodgateError `model` when a log-prob is NaN or infinite.
   */
  async score(
    batch: RowBatch,
    minTokens: number,
    state: Readonly<Record<string, Tensor>> = {},
  ): Promise<Float32Array[]> {
    const { targetMask: _unused, ...feeds } = rowFeeds(batch, { minTokens });
    const B = batch.rows.length;
    const R = maxOf(batch.rows.map((row) => row.length));
    const all = new Float32Array(B * R);
    const wanted = Object.entries(state).filter(([name]) => this.session.inputNames.includes(name));
    await this.session.run({ ...feeds, ...Object.fromEntries(wanted) }, { tokenLogProb: float32Tensor(all, [B, R]) });
    const logProbs = batch.rows.map((row, b) => all.slice(b * R, b * R + row.length));
    if (!logProbs.every((row) => row.every(Number.isFinite))) throw notFinite(this.model);
    return logProbs;
  }

  async close(): Promise<void> {
    await this.session.close();
  }
}

export async function openScorer(
  options: ModelOptions & { readonly bans: TokenBans },
  compute: ComputeOptions,
): Promise<Scorer> {
  const session = await openSession(buildScoreGraph(options), {
    ...compute,
    label: `score ${path.basename(options.weights.path)}`,
    weightFolder: path.dirname(options.weights.path),
    prepack: false,
  });
  return new Scorer(session, options.spec ?? options.weights.path);
}
