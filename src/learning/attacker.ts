import type { Tensor } from 'onnxruntime-node';
import { makeOrClose, openTogether } from '../base/open-together.ts';
import type { RandomStream } from '../base/random.ts';
import { initialiseParameters, type ParameterVector, zeroParameters } from '../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import { scalarTensor } from '../engine/runtime/tensors.ts';
import type { DecoderConfig } from '../models/checkpoint/decoder-config.ts';
import type { Trainable } from '../models/decoder/declare-model.ts';
import { loadStoredWeights } from '../models/decoder/decoder-weights.ts';
import { type Generated, type GenerateOptions, type Generator, openGenerator } from '../models/decoder/generator.ts';
import { policyParameters } from '../models/decoder/policy-graph.ts';
import type { TokenBans } from '../models/decoder/sampler.ts';
import { openScorer, type Scorer } from '../models/decoder/scorer.ts';
import type { WeightStore } from '../models/formats/weight-store.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import type { AttackTokens, SampledAttack } from './attack.ts';

/** The attacker's model, its prompt, and bounds on the length of its attacks. */
export interface AttackerSpec {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  readonly tokenizer: Tokenizer;
  readonly trainable: Trainable;
  /** The fixed text that every attack continues. */
  readonly metaPrompt: string;
  /** End token banned before this many tokens. */
  readonly minTokens: number;
  readonly maxTokens: number;
  readonly contextTokens: number;
}

/** One attack to draw: its own stream, and the temperature of the policy. */
export interface DrawRequest {
  readonly stream: RandomStream;
  readonly temperature: number;
  /** Tokens that are written as they are, by position; a hole is drawn. */
  readonly kept?: readonly (number | undefined)[];
}

/** The adapter (or weights) that a session runs with. */
export type AttackerState = Readonly<Record<string, Tensor>>;

/** The attacker's side of the engine: meta-prompt, bans, sampling and scoring under any of its states. */
export class Attacker {
  readonly spec: AttackerSpec;
  readonly prompt: readonly number[];
  readonly bans: TokenBans;
  readonly endId: number;
  private readonly generator: Generator;
  private readonly scorer: Scorer;

  constructor(spec: AttackerSpec, sessions: { readonly generator: Generator; readonly scorer: Scorer }) {
    this.spec = spec;
    this.generator = sessions.generator;
    this.scorer = sessions.scorer;
    this.prompt = promptTokens(spec);
    this.bans = attackBans(spec.tokenizer, spec.config.vocabSize);
    this.endId = this.bans.end[0] as number;
  }

  /** A parameter vector of the attacker's adapter (or weights), all zeros. */
  createParameters(): ParameterVector {
    return zeroParameters(policyParameters({ ...this.spec, logZ: 'none' }));
  }

  /**
   * Sets `parameters` to their initial values: a fresh adapter from the seed's streams, or the model's own weights.
   */
  async initialise(parameters: ParameterVector, seed: number): Promise<void> {
    if (this.spec.trainable.kind === 'lora') initialiseParameters(parameters, seed);
    else await loadStoredWeights(this.spec.weights, parameters);
  }

  /** The state that runs with `parameters`; scale 0 switches an adapter off. */
  stateOf(parameters: ParameterVector): AttackerState {
    const { trainable } = this.spec;
    if (trainable.kind === 'full') return parameters.tensors;
    return { ...parameters.tensors, loraScale: scalarTensor(trainable.spec.alpha / trainable.spec.rank) };
  }

  /** Samples one attack per request. */
  async sample(state: AttackerState, requests: readonly DrawRequest[], signal?: AbortSignal): Promise<SampledAttack[]> {
    return this.draw(this.prompt, state, requests, signal);
  }

  /** Like `sample`, but continues another text than the meta-prompt. */
  async sampleAfter(state: AttackerState, text: string, requests: readonly DrawRequest[]): Promise<SampledAttack[]> {
    return this.draw(promptTokens({ ...this.spec, metaPrompt: text }), state, requests);
  }

  /**
   * Completes given prefixes at temperature 1 under the sampler's own rules. Each prefix is shorter than the longest
   * attack, and all have one length. `logPi` counts the tokens drawn, not those given.
   */
  async complete(
    state: AttackerState,
    requests: readonly { readonly beginning: readonly number[]; readonly stream: RandomStream }[],
  ): Promise<SampledAttack[]> {
    const given = requests[0]?.beginning.length ?? 0;
    const generated = await this.generator.generate({
      prompts: requests.map(({ beginning }) => [...this.prompt, ...beginning]),
      requests: requests.map(({ stream }, prompt) => ({ prompt, stream, temperature: 1 })),
      minNewTokens: Math.max(0, this.spec.minTokens - given),
      maxNewTokens: this.spec.maxTokens - given,
      topK: 0,
      topP: 1,
      state,
    });
    return generated.map((written, i) => this.toAttack(requests[i]?.beginning ?? [], written));
  }

  /** Samples as the caller says: from its own prompts, with its own filter and lengths. */
  generate(options: GenerateOptions): Promise<Generated[]> {
    return this.generator.generate(options);
  }

  private async draw(
    prompt: readonly number[],
    state: AttackerState,
    requests: readonly DrawRequest[],
    signal?: AbortSignal,
  ): Promise<SampledAttack[]> {
    const generated = await this.generator.generate({
      prompts: [prompt],
      requests: requests.map((request) => ({ ...request, prompt: 0 })),
      minNewTokens: this.spec.minTokens,
      maxNewTokens: this.spec.maxTokens,
      topK: 0,
      topP: 1,
      state,
      ...(signal === undefined ? {} : { signal }),
    });
    return generated.map((written) => this.toAttack([], written));
  }

  private toAttack(beginning: readonly number[], { tokens, isTerminated, logProbs }: Generated): SampledAttack {
    const kept = [...beginning, ...(isTerminated ? tokens.slice(0, -1) : tokens)];
    return {
      source: 'fresh',
      tokens: kept,
      terminated: isTerminated,
      text: this.textOf(kept),
      logPi: logProbs.reduce((sum, logProb) => sum + logProb, 0),
    };
  }

  textOf(tokens: readonly number[]): string {
    return this.spec.tokenizer.decode(tokens).trim();
  }

  /** Token ids for the policy graph. The end token is a factor exactly when it was written. */
  rowOf({ tokens, terminated }: AttackTokens): number[] {
    return terminated ? [...tokens, this.endId] : [...tokens];
  }

  /** A text as an attack. A text over the maximum length is cut, and then has no end factor. */
  tokensOf(text: string): AttackTokens {
    const separator = /\s$/.test(this.spec.metaPrompt) ? '' : ' ';
    const ids = this.spec.tokenizer.encode(separator + text.trim(), { addSpecial: false, parseSpecial: false });
    return ids.length > this.spec.maxTokens
      ? { tokens: ids.slice(0, this.spec.maxTokens), terminated: false }
      : { tokens: ids, terminated: ids.length < this.spec.maxTokens };
  }

  /**
   * Log-prob of each factor of each attack under `state`. With `withEnd`, a cut attack gets one more value: the log-prob
   * that the end token would have had there.
   */
  async score(state: AttackerState, attacks: readonly AttackTokens[], withEnd = false): Promise<Float32Array[]> {
    if (attacks.length === 0) return [];
    const rows = attacks.map((attack) =>
      withEnd && !attack.terminated ? [...attack.tokens, this.endId] : this.rowOf(attack),
    );
    return this.scorer.score({ prompt: this.prompt, rows }, this.spec.minTokens, state);
  }

  async close(): Promise<void> {
    await Promise.all([this.generator.close(), this.scorer.close()]);
  }
}

function promptTokens(spec: AttackerSpec): number[] {
  const ids = spec.tokenizer.encode(spec.metaPrompt, { addSpecial: true, parseSpecial: false });
  const isEnded = spec.tokenizer.endIds.includes(ids.at(-1) ?? -1);
  return isEnded ? ids.slice(0, -1) : ids; // some post-processors close the text; an attack must continue it
}

/** Allows one end token, so that each attack has one spelling, and bans every other control token. */
export function attackBans(tokenizer: Tokenizer, vocabSize: number): TokenBans {
  const end = tokenizer.endIds[0] as number;
  const control = new Set([...tokenizer.specialIds, ...tokenizer.endIds]);
  for (let id = tokenizer.vocabSize; id < vocabSize; id++) control.add(id); // padding of the table: no text
  control.delete(end);
  return { always: [...control].sort((a, b) => a - b), end: [end] };
}

export async function openAttacker(spec: AttackerSpec, compute: ComputeOptions): Promise<Attacker> {
  const { config, weights, trainable, contextTokens } = spec;
  const options = {
    config,
    weights,
    trained: trainable,
    contextTokens,
    bans: attackBans(spec.tokenizer, config.vocabSize),
  };
  const opened = await openTogether([
    () => openGenerator({ ...options, withLogProbs: true }, compute),
    () => openScorer(options, compute),
  ]);
  const [generator, scorer] = opened;
  return makeOrClose(opened, () => new Attacker(spec, { generator, scorer }));
}
