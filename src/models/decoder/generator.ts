import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../../base/errors.ts';
import { maxOf, minOf } from '../../base/long-lists.ts';
import { makeOrClose, openTogether } from '../../base/open-together.ts';
import type { RandomStream } from '../../base/random.ts';
import { type ComputeOptions, takesEmptyTensors } from '../../engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../engine/runtime/session.ts';
import { float32Data, float32Tensor, int64Tensor } from '../../engine/runtime/tensors.ts';
import { MASKED } from './attention-window.ts';
import { chooseToken, type TokenFilter } from './choose-token.ts';
import type { ModelOptions } from './declare-model.ts';
import { DecodeCache } from './decode-cache.ts';
import { buildDecodeGraph, openPrefillSession } from './inference-graphs.ts';
import { streamFeeds, withFilledPrefix } from './row-batch.ts';
import { openTokenDistribution, type TokenBans, type TokenDistribution } from './sampler.ts';

/** One sequence to sample: the prompt that it continues, its own random stream and temperature. */
export interface SampleRequest {
  /** Index into `prompts`; requests of one prompt share its prefill. */
  readonly prompt: number;
  readonly stream: RandomStream;
  readonly temperature: number;
  /** Tokens that are written as they are, by position; a hole is drawn, as is everything after the last. */
  readonly kept?: readonly (number | undefined)[];
  /** Told each token as it is drawn; true ends the sequence there. */
  readonly watch?: TokenWatch;
}

/**
 * @param logProbs log-probs of every token at that position [V], when the generator was opened with them; the next step
 * overwrites them.
 */
export type TokenWatch = (token: number, logProbs: Float32Array | undefined) => boolean;

export interface GenerateOptions extends TokenFilter {
  /** Token ids, at least one each. Their common prefix is computed once. */
  readonly prompts: readonly (readonly number[])[];
  readonly requests: readonly SampleRequest[];
  /** End tokens are banned before this many tokens. */
  readonly minNewTokens: number;
  readonly maxNewTokens: number;
  readonly signal?: AbortSignal;
  /** Trained tensors of the model (adapter or weights) and `loraScale`; none for a frozen model. */
  readonly state?: Readonly<Record<string, Tensor>>;
}

export interface Generated {
  /** The sampled tokens, the end token included when one was drawn. */
  readonly tokens: number[];
  /**
   * Log-prob of each token at temperature 1 under the sampler's bans, without top-k and top-p; empty unless requested.
   */
  readonly logProbs: number[];
  /** True when an end token was drawn, false when cut at `maxNewTokens`. */
  readonly isTerminated: boolean;
}

interface Sequence {
  readonly request: SampleRequest;
  readonly result: { tokens: number[]; logProbs: number[]; isTerminated: boolean };
  /** Own tokens in the cache, beyond the shared prefix. */
  length: number;
  /** Ended by its watch. */
  isStopped: boolean;
}

/** Length of the longest common prefix that leaves every prompt at least one token of its own. */
export function sharedTokens(prompts: readonly (readonly number[])[]): number {
  const first = prompts[0] ?? [];
  let shared = minOf(prompts.map((prompt) => prompt.length)) - 1;
  for (const prompt of prompts) {
    for (let t = 0; t < shared; t++) if (prompt[t] !== first[t]) shared = t;
  }
  return shared;
}

/** Samples from a decoder: one session for prompts, one for single tokens, sharing the weight file. */
export class Generator {
  private readonly prefill: GraphSession;
  private readonly decode: GraphSession;
  private readonly distribution: TokenDistribution;
  private readonly cache: DecodeCache;
  private readonly endIds: ReadonlySet<number>;
  private readonly options: GeneratorOptions;
  private logits = new Float32Array(0);
  /** Tokens of the prefix that the present call's prompts share. */
  private sharedTokens = 0;
  /** Settles when the previous call has ended: calls share the cache, so each waits for its turn. */
  private lastCall: Promise<unknown> = Promise.resolve();

  constructor(
    sessions: { prefill: GraphSession; decode: GraphSession; distribution: TokenDistribution },
    options: GeneratorOptions,
  ) {
    this.prefill = sessions.prefill;
    this.decode = sessions.decode;
    this.distribution = sessions.distribution;
    this.cache = new DecodeCache(options.config, options.contextTokens);
    this.endIds = new Set(options.bans.end);
    this.options = options;
  }

  /**
   * Samples every request, in order. Each draws from its own stream, so batching changes only the rounding.
   * Overlapping calls run one after the other.
   *
   * @throws FloodgateError `model` when a prompt and its answer do not fit the context; `interrupted` on abort.
   */
  async generate(options: GenerateOptions): Promise<Generated[]> {
    const call = this.lastCall.then(() => this.generateAlone(options));
    this.lastCall = call.catch(() => {});
    return call;
  }

  private async generateAlone(options: GenerateOptions): Promise<Generated[]> {
    const { prompts, requests } = options;
    if (requests.length === 0) return [];
    const longest = maxOf(prompts.map((prompt) => prompt.length)) + options.maxNewTokens;
    if (longest > this.options.contextTokens) {
      throw new FloodgateError(
        'model',
        `generate: ${longest} tokens, but the context holds ${this.options.contextTokens}`,
      );
    }
    const sequences = await this.start(options, longest);
    let live = sequences.filter((sequence) => !this.isDone(sequence, options));
    live = this.compact(sequences, live);
    while (live.length > 0) {
      if (options.signal?.aborted) throw new FloodgateError('interrupted', 'generate: interrupted');
      await this.step(live, options);
      live = this.compact(
        live,
        live.filter((sequence) => !this.isDone(sequence, options)),
      );
    }
    return sequences.map(({ result }) => result);
  }

  private isDone({ result, isStopped }: Sequence, options: GenerateOptions): boolean {
    return isStopped || result.isTerminated || result.tokens.length >= options.maxNewTokens;
  }

  /** Feeds of trained tensors that this session takes. */
  private stateFeeds(session: GraphSession, options: GenerateOptions): Record<string, Tensor> {
    const state = options.state ?? {};
    return Object.fromEntries(Object.entries(state).filter(([name]) => session.inputNames.includes(name)));
  }

  /** Prefill: fills the cache and draws each sequence's first token. */
  private async start(options: GenerateOptions, longest: number): Promise<Sequence[]> {
    const { prompts, requests } = options;
    const shared = sharedTokens(prompts);
    const streams = prompts.map((prompt) => prompt.slice(shared));
    const prefix = (prompts[0] as readonly number[]).slice(0, shared);
    // The stream starts after the prefix; the 0 is never read.
    const feeds = withFilledPrefix(streamFeeds([...prefix, 0], streams), this.prefill.device);
    const R = maxOf(streams.map((stream) => stream.length));
    const wanted = streams.map((stream, b) => b * R + stream.length - 1);
    const outputs = await this.prefill.run({
      ...feeds,
      wanted: int64Tensor(wanted, [wanted.length]),
      ...this.stateFeeds(this.prefill, options),
    });
    const prefill = { outputs, rowTokens: R };
    this.cache.reset(prefill, requests.length, longest - shared);
    const sequences = requests.map((request, row): Sequence => {
      const own = streams[request.prompt] as readonly number[];
      this.cache.fill(row, prefill, request.prompt, own.length);
      const result = { tokens: [], logProbs: [], isTerminated: false };
      return { request, result, length: own.length, isStopped: false };
    });
    this.sharedTokens = shared;
    const vocabulary = this.options.config.vocabSize;
    const promptLogits = float32Data(outputs.logits);
    const logits = this.logitBuffer(requests.length);
    requests.forEach(({ prompt }, row) => {
      logits.set(promptLogits.subarray(prompt * vocabulary, (prompt + 1) * vocabulary), row * vocabulary);
    });
    await this.draw(sequences, logits, options);
    return sequences;
  }

  private logitBuffer(rows: number): Float32Array {
    const size = rows * this.options.config.vocabSize;
    if (this.logits.length < size) this.logits = new Float32Array(size);
    return this.logits.subarray(0, size);
  }

  /** One token for every live sequence; row i of the cache belongs to live[i]. */
  private async step(live: readonly Sequence[], options: GenerateOptions): Promise<void> {
    const rows = live.length;
    const lengths = live.map((sequence) => sequence.length);
    const outputs = await this.decode.run({
      ids: int64Tensor(
        live.map(({ result }) => result.tokens.at(-1) as number),
        [rows],
      ),
      positions: int64Tensor(
        lengths.map((length) => this.sharedTokens + length),
        [rows],
      ),
      ...this.cache.feeds(lengths),
      ...this.prefixMask(),
      ...this.stateFeeds(this.decode, options),
    });
    this.cache.append(outputs, lengths);
    for (const sequence of live) sequence.length++;
    await this.draw(live, float32Data(outputs.logits), options);
  }

  /** Hides the token that fills an empty prefix, where the graph takes a mask for it. */
  private prefixMask(): Record<string, Tensor> {
    if (!this.decode.inputNames.includes('prefixMask')) return {};
    const isEmpty = this.sharedTokens === 0;
    const mask = new Float32Array(isEmpty ? 1 : this.sharedTokens).fill(isEmpty ? MASKED : 0);
    return { prefixMask: float32Tensor(mask, [mask.length]) };
  }

  private async draw(sequences: readonly Sequence[], logits: Float32Array, options: GenerateOptions): Promise<void> {
    const temperatures = Float32Array.from(sequences, ({ request }) => request.temperature);
    const endBan = Float32Array.from(sequences, ({ result }) => (result.tokens.length < options.minNewTokens ? 1 : 0));
    const { probabilities, logProbs } = await this.distribution.of(logits, temperatures, endBan);
    const vocabulary = this.options.config.vocabSize;
    sequences.forEach((sequence, row) => {
      const { request, result } = sequence;
      const start = row * vocabulary;
      const token =
        request.kept?.[result.tokens.length] ??
        chooseToken(probabilities.subarray(start, start + vocabulary), options, request.stream.nextFloat());
      result.tokens.push(token);
      if (logProbs !== undefined) result.logProbs.push(logProbs[start + token] as number);
      if (this.endIds.has(token)) result.isTerminated = true;
      sequence.isStopped = request.watch?.(token, logProbs?.subarray(start, start + vocabulary)) ?? false;
    });
  }

  /** Removes finished rows from the batch: the last live row fills each gap. */
  private compact(before: readonly Sequence[], remaining: readonly Sequence[]): Sequence[] {
    if (remaining.length === before.length) return [...before];
    const keep = new Set(remaining);
    const rows = [...before];
    for (let row = 0; row < rows.length; ) {
      if (keep.has(rows[row] as Sequence)) {
        row++;
        continue;
      }
      const last = rows.pop() as Sequence;
      if (row === rows.length) break;
      this.cache.move(rows.length, row);
      rows[row] = last;
    }
    return rows;
  }

  async close(): Promise<void> {
    await Promise.all([this.prefill.close(), this.decode.close(), this.distribution.close()]);
  }
}

export interface GeneratorOptions extends ModelOptions {
  readonly bans: TokenBans;
  readonly withLogProbs: boolean;
}

/**
 * Opens the sessions that sample from a decoder. Only the decode session keeps a repacked copy of the weights, where
 * `compute` allows it. A session of int8 weights keeps its copy: it is small, and products are slow without it.
 */
export async function openGenerator(options: GeneratorOptions, compute: ComputeOptions): Promise<Generator> {
  const { config, weights, bans, withLogProbs, spec: model = weights.path } = options;
  const weightFolder = path.dirname(weights.path);
  const prepack = options.int8 !== undefined || compute.prepack !== false;
  const decodeGraph = buildDecodeGraph(options, { masksPrefix: !takesEmptyTensors(compute.device) });
  const opened = await openTogether([
    () => openPrefillSession(options, compute),
    () =>
      openSession(decodeGraph, { ...compute, label: `decode ${path.basename(weights.path)}`, weightFolder, prepack }),
    () => openTokenDistribution({ vocabSize: config.vocabSize, bans, withLogProbs, model }, compute),
  ]);
  const [prefill, decode, distribution] = opened;
  return makeOrClose(opened, () => new Generator({ prefill, decode, distribution }, options));
}
