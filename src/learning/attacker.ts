import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../base/errors.ts';
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

/** The place of a cell's text in a meta-prompt. */
export const CELL_PLACEHOLDER = '{cell}';

/** A named category of attacks, and its text in the meta-prompt. */
export interface AttackerCell {
  readonly name: string;
  readonly text: string;
}

/** The attacker's model, its prompt, and bounds on the length of its attacks. */
export interface AttackerSpec {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  readonly tokenizer: Tokenizer;
  readonly trainable: Trainable;
  /** The fixed text that every attack continues; with cells it holds `{cell}`. */
  readonly metaPrompt: string;
  /** Categories of attacks, each with a prompt of its own. Absent: all attacks continue one prompt. */
  readonly cells?: readonly AttackerCell[];
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
  /** The cell whose prompt is continued, for an attacker with cells. */
  readonly cell?: string;
}

/** The adapter (or weights) that a session runs with. */
export type AttackerState = Readonly<Record<string, Tensor>>;

/** The attacker's side of the engine: meta-prompt, bans, sampling and scoring under any of its states. */
export class Attacker {
  readonly spec: AttackerSpec;
  readonly bans: TokenBans;
  readonly endId: number;
  private readonly generator: Generator;
  private readonly scorer: Scorer;
  /** Tokens of the prompt of each cell; of the one prompt under undefined. */
  private readonly prompts: ReadonlyMap<string | undefined, readonly number[]>;

  constructor(spec: AttackerSpec, sessions: { readonly generator: Generator; readonly scorer: Scorer }) {
    this.spec = spec;
    this.generator = sessions.generator;
    this.scorer = sessions.scorer;
    this.prompts = new Map(
      promptsOf(spec).map(({ cell, text }) => [cell, promptTokens({ ...spec, metaPrompt: text })]),
    );
    this.bans = attackBans(spec.tokenizer, spec.config.vocabSize);
    this.endId = this.bans.end[0] as number;
  }

  /** The one prompt of an attacker without cells. @throws FloodgateError `usage` for an attacker with cells. */
  get prompt(): readonly number[] {
    return this.promptOf(undefined);
  }

  /** Names of its cells, in the order of the config; undefined alone for an attacker without cells. */
  get cells(): readonly (string | undefined)[] {
    return [...this.prompts.keys()];
  }

  /** Tokens of the prompt that the attacks of a cell continue. @throws FloodgateError `usage` for an unknown cell. */
  promptOf(cell: string | undefined): readonly number[] {
    const prompt = this.prompts.get(cell);
    if (prompt !== undefined) return prompt;
    const known = this.cells.map((name) => name ?? 'none').join(', ');
    throw new FloodgateError(
      'usage',
      `attacker: prompt of a cell is unknown, got ${cell ?? 'none'}, expected ${known}`,
    );
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

  /** Samples one attack per request, each after the prompt of its cell. */
  async sample(state: AttackerState, requests: readonly DrawRequest[], signal?: AbortSignal): Promise<SampledAttack[]> {
    const cells = [...new Set(requests.map(({ cell }) => cell))];
    const prompts = cells.map((cell) => ({ cell, tokens: this.promptOf(cell) }));
    return this.draw(prompts, state, requests, signal);
  }

  /** Like `sample`, but all requests continue another text than the meta-prompt. */
  async sampleAfter(state: AttackerState, text: string, requests: readonly DrawRequest[]): Promise<SampledAttack[]> {
    const tokens = promptTokens({ ...this.spec, metaPrompt: text });
    return this.draw([{ cell: requests[0]?.cell, tokens }], state, requests);
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
    prompts: readonly { readonly cell: string | undefined; readonly tokens: readonly number[] }[],
    state: AttackerState,
    requests: readonly DrawRequest[],
    signal?: AbortSignal,
  ): Promise<SampledAttack[]> {
    const generated = await this.generator.generate({
      prompts: prompts.map(({ tokens }) => tokens),
      requests: requests.map(({ cell, ...request }) => ({
        ...request,
        prompt: prompts.findIndex((prompt) => prompt.cell === cell),
      })),
      minNewTokens: this.spec.minTokens,
      maxNewTokens: this.spec.maxTokens,
      topK: 0,
      topP: 1,
      state,
      ...(signal === undefined ? {} : { signal }),
    });
    return generated.map((written, i) => this.toAttack([], written, requests[i]?.cell));
  }

  private toAttack(
    beginning: readonly number[],
    { tokens, isTerminated, logProbs }: Generated,
    cell?: string,
  ): SampledAttack {
    const kept = [...beginning, ...(isTerminated ? tokens.slice(0, -1) : tokens)];
    return {
      source: 'fresh',
      tokens: kept,
      terminated: isTerminated,
      ...(cell === undefined ? {} : { cell }),
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
   * Log-prob of each factor of each attack under `state`, given the prompt of its cell. With `withEnd`, a cut attack gets one more value: the log-prob
   * that the end token would have had there.
   */
  async score(state: AttackerState, attacks: readonly AttackTokens[], withEnd = false): Promise<Float32Array[]> {
    if (attacks.length === 0) return [];
    const rows = attacks.map((attack) =>
      withEnd && !attack.terminated ? [...attack.tokens, this.endId] : this.rowOf(attack),
    );
    const scores = new Array<Float32Array>(rows.length);
    for (const [cell, members] of placesByCell(attacks)) {
      const batch = { prompt: this.promptOf(cell), rows: members.map((i) => rows[i] as number[]) };
      const scored = await this.scorer.score(batch, this.spec.minTokens, state);
      for (const [at, i] of members.entries()) scores[i] = scored[at] as Float32Array;
    }
    return scores;
  }

  async close(): Promise<void> {
    await Promise.all([this.generator.close(), this.scorer.close()]);
  }
}

/** The text that the attacks of each cell continue; of a spec without cells, its one prompt. */
export function promptsOf({ metaPrompt, cells }: Pick<AttackerSpec, 'metaPrompt' | 'cells'>): {
  readonly cell: string | undefined;
  readonly text: string;
}[] {
  if (cells === undefined) return [{ cell: undefined, text: metaPrompt }];
  return cells.map(({ name, text }) => ({ cell: name, text: metaPrompt.replace(CELL_PLACEHOLDER, () => text) }));
}

/** The cell of the i-th item where the cells take turns, as its field; nothing for an attacker without cells. */
export function cellInTurn(cells: readonly (string | undefined)[], i: number): { readonly cell?: string } {
  const cell = cells[i % cells.length];
  return cell === undefined ? {} : { cell };
}

/** Places of items by their cell, in the order in which the cells first appear. */
export function placesByCell(
  items: readonly { readonly cell?: string | undefined }[],
): Map<string | undefined, number[]> {
  const places = new Map<string | undefined, number[]>();
  for (const [i, { cell }] of items.entries()) {
    const members = places.get(cell);
    if (members === undefined) places.set(cell, [i]);
    else members.push(i);
  }
  return places;
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
