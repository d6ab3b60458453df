import { FloodgateError } from '../../base/errors.ts';
import { append, maxOf } from '../../base/long-lists.ts';
import type { ProgressSink } from '../../base/progress.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { GraphSession } from '../../engine/runtime/session.ts';
import { float32Tensor, int64Tensor } from '../../engine/runtime/tensors.ts';
import type { DecoderCheckpoint } from '../checkpoint/checkpoint.ts';
import type { Precision } from '../quantised/int8-weights.ts';
import { encodePlainPrompt } from '../tokenizer/prompt-ids.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { sharedTokens } from './generator.ts';
import { openPrefillSession } from './inference-graphs.ts';
import { openInt8Checkpoint } from './int8-decoder.ts';
import { groupRows, streamFeeds, withFilledPrefix } from './row-batch.ts';
import { notFinite } from './sampler.ts';

/**
 * Longest context of a guard. Its prompt holds up to 16,384 characters of attack and response, and memory grows with
 * the square of the tokens.
 */
const MAX_CONTEXT = 4096;
/** Limits of one run: they bound the hidden states and attention scores. */
const LIMITS = { maxRows: 64, maxTokens: 4096 };

/** A logit to read: that of `token` at `position` of the row, which adds to a label of a prompt. */
interface LabelRead {
  readonly prompt: number;
  readonly label: number;
  readonly position: number;
  readonly token: number;
}

/** One sequence to run: a prompt and the prefixes of the labels that are read from it. */
interface LabelRow {
  readonly ids: readonly number[];
  readonly promptTokens: number;
  readonly reads: readonly LabelRead[];
}

/**
 * Returns the label's tokens after the prompt: those that the tokenizer adds to it, or the label's own where the two
 * would merge.
 */
function labelTokens(tokenizer: Tokenizer, prompt: string, promptIds: readonly number[], label: string): number[] {
  const whole = encodePlainPrompt(tokenizer, prompt + label, { parseSpecial: true });
  const isAppended = whole.length > promptIds.length && promptIds.every((id, t) => whole[t] === id);
  return isAppended ? whole.slice(promptIds.length) : tokenizer.encode(label);
}

/** Rows of one prompt. A label is read in a longer label's row when that row begins with it. */
function labelRows(prompt: number, promptIds: readonly number[], labels: readonly (readonly number[])[]): LabelRow[] {
  const rows: { ids: number[]; promptTokens: number; reads: LabelRead[] }[] = [];
  const P = promptIds.length;
  const longestFirst = [...labels.entries()].sort(([, a], [, b]) => b.length - a.length);
  for (const [label, tokens] of longestFirst) {
    const context = tokens.slice(0, -1);
    let row = rows.find(({ ids }) => context.every((id, t) => ids[P + t] === id));
    if (row === undefined) {
      row = { ids: [...promptIds, ...context], promptTokens: P, reads: [] };
      rows.push(row);
    }
    append(
      row.reads,
      tokens.map((token, t) => ({ prompt, label, position: P - 1 + t, token })),
    );
  }
  return rows;
}

/** log(sum(exp(logits))) in float64. */
function logSumExp(logits: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > largest) largest = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  return largest + Math.log(sum);
}

/** Scores labels as continuations of prompts, the way guard models are asked. Close it when done. */
export class LabelScorer {
  private readonly session: GraphSession;
  private readonly checkpoint: DecoderCheckpoint;
  private readonly contextTokens: number;

  constructor(session: GraphSession, checkpoint: DecoderCheckpoint, contextTokens: number) {
    this.session = session;
    this.checkpoint = checkpoint;
    this.contextTokens = contextTokens;
  }

  /**
   * Log-prob in nats of each label as the continuation of each prompt: [prompts][labels]. It sums over the label's
   * tokens and normalises over the whole vocabulary. Control tokens in a prompt are parsed. A BOS is added where the
   * tokenizer adds one. A prompt that does not fit the context with its longest label gives NaN for each label.
   * @throws FloodgateError `model` for an empty label, or a text beyond the tokenizer's limit, or logits that are
   * NaN or infinite.
   */
  async scoreLabels(prompts: readonly string[], labels: readonly string[]): Promise<Float64Array[]> {
    if (labels.includes('')) throw new FloodgateError('model', 'score labels: got an empty label, expected text');
    const scores = prompts.map(() => new Float64Array(labels.length).fill(Number.NaN));
    const rows: LabelRow[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const own = this.rowsOf(i, prompt, labels);
      if (own.length === 0) continue;
      scores[i]?.fill(0);
      append(rows, own);
    }
    for (const [start, end] of groupRows(
      rows.map(({ ids }) => ids.length),
      LIMITS,
    )) {
      await this.addScores(rows.slice(start, end), scores);
    }
    return scores;
  }

  /** Rows of one prompt; none where it does not fit. */
  private rowsOf(index: number, prompt: string, labels: readonly string[]): LabelRow[] {
    const { tokenizer } = this.checkpoint;
    const ids = encodePlainPrompt(tokenizer, prompt, { parseSpecial: true });
    if (ids.length > this.contextTokens) return [];
    const rows = labelRows(
      index,
      ids,
      labels.map((label) => labelTokens(tokenizer, prompt, ids, label)),
    );
    return rows.every((row) => row.ids.length <= this.contextTokens) ? rows : [];
  }

  /** Runs the rows once. Computes their common prefix once, and logits only where they are read. */
  private async addScores(rows: readonly LabelRow[], scores: readonly Float64Array[]): Promise<void> {
    const prompts = rows.map(({ ids, promptTokens }) => ids.slice(0, promptTokens));
    const shared = sharedTokens(prompts);
    const streams = rows.map(({ ids }) => ids.slice(shared));
    const R = maxOf(streams.map((stream) => stream.length));
    const reads = new Map<number, LabelRead[]>();
    for (const [b, row] of rows.entries()) {
      for (const read of row.reads) {
        const at = b * R + read.position - shared;
        reads.set(at, [...(reads.get(at) ?? []), read]);
      }
    }
    const V = this.checkpoint.config.vocabSize;
    const logits = new Float32Array(reads.size * V);
    const prefix = (rows[0] as LabelRow).ids.slice(0, shared);
    const feeds = withFilledPrefix(streamFeeds([...prefix, 0], streams), this.session.device);
    await this.session.run(
      { ...feeds, wanted: int64Tensor([...reads.keys()], [reads.size]) },
      { logits: float32Tensor(logits, [reads.size, V]) }, // naming this output avoids copying keys and values
    );
    [...reads.values()].forEach((readers, m) => {
      const row = logits.subarray(m * V, (m + 1) * V);
      const total = logSumExp(row);
      for (const { prompt, label, token } of readers) {
        const logProb = (row[token] as number) - total;
        if (!Number.isFinite(logProb)) throw notFinite(this.checkpoint.spec);
        const score = scores[prompt] as Float64Array;
        score[label] = (score[label] as number) + (row[token] as number) - total;
      }
    });
  }

  async close(): Promise<void> {
    await this.session.close();
  }
}

/** Opens a decoder for scoring labels, with the model's own context or 4096 tokens if that is smaller. */
export async function openLabelScorer(
  checkpoint: DecoderCheckpoint,
  options: ComputeOptions & {
    readonly precision?: Precision | undefined;
    readonly progress?: ProgressSink | undefined;
  },
): Promise<LabelScorer> {
  const { precision = 'fp32', progress, ...compute } = options;
  const { config, weights, spec } = checkpoint;
  const contextTokens = Math.min(config.maxPositions, MAX_CONTEXT);
  const form = precision === 'int8' ? { int8: await openInt8Checkpoint(checkpoint, compute, progress) } : {};
  const session = await openPrefillSession({ config, weights, spec, contextTokens, ...form }, compute);
  return new LabelScorer(session, checkpoint, contextTokens);
}
