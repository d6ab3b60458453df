import type { Tensor } from 'onnxruntime-node';
import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import { type Generated, type Generator, openGenerator } from '../models/decoder/generator.ts';
import { offSpec, switchedOff } from '../models/decoder/lora.ts';
import { groupRows } from '../models/decoder/row-batch.ts';
import type { TokenBans } from '../models/decoder/sampler.ts';
import type { Int8Store } from '../models/quantised/int8-weights.ts';
import { encodePlainPrompt, renderChatIds } from '../models/tokenizer/prompt-ids.ts';
import type { AskOptions, DecodeSettings, Target, TargetAnswer, TargetRequest } from './target.ts';

export interface LocalPromptOptions {
  readonly checkpoint: DecoderCheckpoint;
  /** `chat`: the model's own template; `plain`: the attack as it is. */
  readonly template: 'chat' | 'plain';
  /** The chat's system message; with `plain`, text right before the attack. */
  readonly systemPrompt?: string;
}

/** Token ids of the prompt that holds `attack`, at least one. Control tokens in the attack are read as text. */
export type AttackEncoder = (attack: string) => number[];

/** @throws FloodgateError `target` when a chat is asked of a model without a chat template. */
export function createAttackEncoder({ checkpoint, template, systemPrompt }: LocalPromptOptions): AttackEncoder {
  const { chatTemplate, tokenizer, spec } = checkpoint;
  if (template === 'plain')
    return (attack) => encodePlainPrompt(tokenizer, `${systemPrompt ?? ''}${attack}`, { parseSpecial: false });
  if (chatTemplate === undefined) {
    throw new FloodgateError('target', `open target ${spec}: the model has no chat template`, {
      hint: 'set target.template: plain',
    });
  }
  const system = systemPrompt === undefined ? [] : [{ role: 'system' as const, content: systemPrompt }];
  return (attack) => renderChatIds(chatTemplate, tokenizer, [...system, { role: 'user', content: attack }]);
}

/** One attack of a few thousand tokens costs a prefill that grows with the square of its length. */
const DEFAULT_MAX_CONTEXT = 2048;

/** Longest prompt and response together: the length that the model was trained for, within bounds. */
export function answerContext({ config }: DecoderCheckpoint): number {
  return Math.min(config.maxPositions, DEFAULT_MAX_CONTEXT);
}

/** No attack has a shorter prompt, to within a token or two. */
const SHORTEST_ATTACK = 'a';

/**
 * Refuses decode settings that leave no room for any attack: every answer would be `failed`.
 * @throws FloodgateError `config` with the key to change.
 */
export function assertAnswersFit(prompt: LocalPromptOptions, { maxNewTokens }: DecodeSettings): void {
  const { checkpoint } = prompt;
  const context = answerContext(checkpoint);
  const shortest = createAttackEncoder(prompt)(SHORTEST_ATTACK).length;
  if (shortest + maxNewTokens <= context) return;
  const most = context - shortest;
  throw new FloodgateError(
    'config',
    `target.decode.maxNewTokens: got ${maxNewTokens}, which leaves a prompt ${Math.max(0, context - maxNewTokens)} of ` +
      `the ${context} tokens that ${checkpoint.spec} may be asked with; the shortest prompt has ${shortest}`,
    {
      hint:
        most > 0
          ? `set target.decode.maxNewTokens below ${most}, by as many tokens as attacks have`
          : 'shorten target.systemPrompt, or choose a target.model with a longer context',
    },
  );
}

export interface LocalTargetOptions extends LocalPromptOptions {
  /** Seed of every response's random stream. */
  readonly seed: number;
  readonly compute: ComputeOptions;
  /** Longest prompt and response together. Default: the length that the model was trained for, at most 2048. */
  readonly contextTokens?: number;
  /** Frozen projections as int8; fp32 when absent. */
  readonly int8?: Int8Store;
  /** Responses sampled at once; default 96. */
  readonly maxRowsPerBatch?: number;
}

const DEFAULT_MAX_ROWS = 96;
/** Slots of the key/value cache of one batch, padding included: 755 MB for SmolLM2-135M. Stops 96 very long attacks. */
const MAX_CACHE_SLOTS = 16_384;

/** Bans control tokens and the padding of the embedding table, which has no text. End tokens stay allowed. */
export function answerBans({ tokenizer, config }: DecoderCheckpoint): TokenBans {
  const end = new Set(tokenizer.endIds);
  const always = tokenizer.specialIds.filter((id) => !end.has(id));
  for (let id = tokenizer.vocabSize; id < config.vocabSize; id++) always.push(id);
  return { always, end: [...end] };
}

/** One response to sample. */
interface Row {
  readonly request: number;
  readonly response: number;
}

interface LocalTargetParts {
  readonly generator: Generator;
  readonly encode: AttackEncoder;
  readonly contextTokens: number;
  /** Inputs that switch the adapters of a shared session off. */
  readonly state: Readonly<Record<string, Tensor>>;
}

class LocalTarget implements Target {
  readonly name: string;
  private readonly options: LocalTargetOptions;
  private readonly generator: Generator;
  private readonly encode: AttackEncoder;
  private readonly contextTokens: number;
  private readonly state: LocalTargetParts['state'];
  /** The end of the last call: calls share the generator's cache, so they run one after the other. */
  private lastCall: Promise<unknown> = Promise.resolve();
  private isClosed = false;

  constructor(options: LocalTargetOptions, { generator, encode, contextTokens, state }: LocalTargetParts) {
    this.name = `local/${options.checkpoint.spec}`;
    this.options = options;
    this.generator = generator;
    this.encode = encode;
    this.contextTokens = contextTokens;
    this.state = state;
  }

  /** The attack's prompt, or the reason why it cannot be asked. */
  private promptOf(attack: string, decode: DecodeSettings): readonly number[] | string {
    let ids: number[];
    try {
      ids = this.encode(attack);
    } catch (error) {
      if (error instanceof FloodgateError && error.code === 'model') return error.message;
      throw error;
    }
    const room = this.contextTokens - decode.maxNewTokens;
    return ids.length <= room
      ? ids
      : `its prompt has ${ids.length} tokens, expected at most ${room} before ${decode.maxNewTokens} of response`;
  }

  /** An attack that cannot be asked makes no call and does not change the answers to the others. */
  async ask(requests: readonly TargetRequest[], options: AskOptions): Promise<TargetAnswer[][]> {
    if (this.isClosed) throw new FloodgateError('target', `${this.name}: used after close`);
    if (options.signal?.aborted) throw new FloodgateError('interrupted', `${this.name}: interrupted`);
    const prompts = requests.map(({ attack }) => this.promptOf(attack, options.decode));
    const asked = requests.flatMap((request, i): AskedRequest[] => {
      const prompt = prompts[i] as readonly number[] | string;
      return typeof prompt === 'string' ? [] : [{ ...request, prompt }];
    });
    const call = this.lastCall.then(() => this.sampleAll(asked, options));
    this.lastCall = call.catch(() => undefined);
    const answers = await call;
    let next = 0;
    return prompts.map((prompt) =>
      typeof prompt === 'string' ? unasked(prompt, options.responses) : (answers[next++] as TargetAnswer[]),
    );
  }

  private async sampleAll(asked: readonly AskedRequest[], options: AskOptions): Promise<TargetAnswer[][]> {
    const { responses, decode } = options;
    const rows = asked.flatMap((_, request) =>
      Array.from({ length: responses }, (_, response): Row => ({ request, response })),
    );
    const lengths = rows.map(({ request }) => (asked[request] as AskedRequest).prompt.length + decode.maxNewTokens);
    const maxRows = this.options.maxRowsPerBatch ?? DEFAULT_MAX_ROWS;
    const results: TargetAnswer[][] = asked.map(() => []);
    for (const [start, end] of groupRows(lengths, { maxRows, maxTokens: MAX_CACHE_SLOTS })) {
      const group = rows.slice(start, end);
      const generated = await this.sample(group, asked, options);
      group.forEach(({ request }, i) => {
        results[request]?.push(this.toAnswer(generated[i] as Generated));
      });
    }
    return results;
  }

  private sample(
    rows: readonly Row[],
    asked: readonly AskedRequest[],
    { decode, signal }: AskOptions,
  ): Promise<Generated[]> {
    const used = [...new Set(rows.map(({ request }) => request))];
    const isGreedy = decode.temperature === 0;
    return this.generator.generate({
      prompts: used.map((request) => (asked[request] as AskedRequest).prompt),
      requests: rows.map(({ request, response }) => ({
        prompt: used.indexOf(request),
        stream: randomStream(this.options.seed, ...(asked[request] as AskedRequest).streamName, response),
        temperature: isGreedy ? 1 : decode.temperature,
      })),
      minNewTokens: 0,
      maxNewTokens: decode.maxNewTokens,
      topK: isGreedy ? 1 : decode.topK,
      topP: decode.topP,
      state: this.state,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  private toAnswer({ tokens, isTerminated }: Generated): TargetAnswer {
    const written = isTerminated ? tokens.slice(0, -1) : tokens;
    const text = this.options.checkpoint.tokenizer.decode(written);
    return { kind: 'text', text, truncated: !isTerminated, usage: { calls: 1, tokens: tokens.length } };
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.lastCall;
    await this.generator.close();
  }
}

/** A request with the token ids of its prompt. */
interface AskedRequest extends TargetRequest {
  readonly prompt: readonly number[];
}

function unasked(reason: string, responses: number): TargetAnswer[] {
  return Array.from({ length: responses }, () => ({ kind: 'failed', reason, usage: { calls: 0, tokens: 0 } }));
}

/**
 * A decoder on this machine as the model under test. Response i of a request draws from the random stream `[seed,
 * ...streamName, i]`. Responses share their attack's prefill; attacks share the beginning of the chat template. Close
 * it when done.
 * @throws FloodgateError `target` when the model lacks the requested template or context.
 */
export async function openLocalTarget(options: LocalTargetOptions): Promise<Target> {
  const { checkpoint, compute, int8 } = options;
  const { config, weights, spec } = checkpoint;
  const quantised = int8 === undefined ? {} : { int8 };
  const contextTokens = options.contextTokens ?? answerContext(checkpoint);
  if (contextTokens > config.maxPositions) {
    throw new FloodgateError(
      'target',
      `open target ${spec}: got a context of ${contextTokens} tokens, expected at most ${config.maxPositions}`,
    );
  }
  const encode = createAttackEncoder(options);
  const adapted = int8 === undefined ? checkpoint.adapted : undefined;
  const trained = adapted === undefined ? {} : ({ trained: { kind: 'lora', spec: offSpec(adapted) } } as const);
  const generator = await openGenerator(
    {
      config,
      weights,
      spec,
      contextTokens,
      bans: answerBans(checkpoint),
      withLogProbs: false,
      ...quantised,
      ...trained,
    },
    compute,
  );
  const state = adapted === undefined ? {} : switchedOff(config, adapted);
  return new LocalTarget(options, { generator, encode, contextTokens, state });
}
