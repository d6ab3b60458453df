import { basename } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { type RandomStream, randomStream } from '../base/random.ts';
import { defaultThreads } from '../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import { type Generated, type GenerateOptions, openGenerator } from '../models/decoder/generator.ts';
import { createOpenModels } from '../models/open-models.ts';
import type { ChatMessage } from '../models/tokenizer/chat-template.ts';
import { encodePlainPrompt, renderChatIds } from '../models/tokenizer/prompt-ids.ts';
import type { Tokenizer } from '../models/tokenizer/tokenizer.ts';
import type { AttackerFolder } from '../runs/attacker-folder.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { openExportedAttacker } from '../stages/campaign/exported-attacker.ts';
import { openTrainedAttacker, sampleStream } from '../stages/campaign/sample-attacks.ts';
import type { StageAttacker } from '../stages/checkpoints.ts';
import type { CampaignIo } from '../stages/stage.ts';
import { answerBans, answerContext } from '../targets/local-target.ts';

/** A prompt in token ids, and the bounds on the text that continues it. */
export interface ServedPrompt {
  readonly ids: readonly number[];
  readonly minNewTokens: number;
  /** The most tokens that fit behind it; below 1 when none does. */
  readonly maxNewTokens: number;
}

/** Everything that the server asks of the model behind it. */
export interface ServedModel {
  /** The name that requests give. */
  readonly id: string;
  /** Changes when equal seeds may give other answers. */
  readonly fingerprint: string;
  readonly tokenizer: Tokenizer;
  /** Longest prompt and answer together, in tokens. */
  readonly contextTokens: number;
  /** Whether spaces around an answer are cut, as an attacker's are. */
  readonly isTrimmed: boolean;
  /** Names of the attacker's cells; absent for a model without any. */
  readonly cells?: readonly string[];
  /** @throws FloodgateError `model` or `target` when the messages make no prompt. */
  chatPrompt(messages: readonly ChatMessage[], cell?: string): ServedPrompt;
  textPrompt(prompt: string | readonly number[], cell?: string): ServedPrompt;
  /** The random stream of one choice. */
  streamOf(seed: number, prompt: number, choice: number): RandomStream;
  /** Needs the log-probs that its watches are told. */
  generate(options: GenerateOptions): Promise<Generated[]>;
  close(): Promise<void>;
}

export interface ServeModelOptions {
  /** Name that requests give; default as the model is named. */
  readonly id?: string;
  readonly threads?: number;
}

const PREFIX = 12;

function chatIds({ chatTemplate, tokenizer, spec }: DecoderCheckpoint, messages: readonly ChatMessage[]): number[] {
  if (chatTemplate !== undefined) return renderChatIds(chatTemplate, tokenizer, messages);
  throw new FloodgateError('target', `${spec} has no chat template; ask /v1/completions instead`);
}

/**
 * Opens a language model of this machine. Control tokens in chat messages are read as text; in a plain prompt they are
 * control tokens.
 * @throws FloodgateError `source`, `config`, `format` as the model requires.
 */
export async function openServedModel(
  spec: string,
  io: CampaignIo,
  options: ServeModelOptions = {},
): Promise<ServedModel> {
  const { threads = defaultThreads(), id = servedName(spec) } = options;
  const checkpoint = await createOpenModels({ threads, ...io }).openDecoder(spec);
  const { config, weights, tokenizer, sha256 } = checkpoint;
  const contextTokens = answerContext(checkpoint);
  const generator = await openGenerator(
    { config, weights, spec, contextTokens, bans: answerBans(checkpoint), withLogProbs: true },
    { device: 'cpu', threads },
  );
  const bounded = (ids: readonly number[]): ServedPrompt => ({
    ids,
    minNewTokens: 0,
    maxNewTokens: contextTokens - ids.length,
  });
  return {
    id,
    fingerprint: `fp_${sha256.slice(0, PREFIX)}_${threads}`,
    tokenizer,
    contextTokens,
    isTrimmed: false,
    chatPrompt: (messages) => bounded(chatIds(checkpoint, messages)),
    textPrompt: (prompt) =>
      bounded(typeof prompt === 'string' ? encodePlainPrompt(tokenizer, prompt, { parseSpecial: true }) : prompt),
    streamOf: (seed, prompt, choice) => randomStream(seed, 'serve', prompt, choice),
    generate: (request) => generator.generate(request),
    close: () => generator.close(),
  };
}

/** A spec as it is typed; of a path its last part. */
function servedName(spec: string): string {
  return /^(hf|wheel):/.test(spec) ? spec : basename(spec);
}

/**
 * Opens the attacker that a run's stage has left. A chat's messages do not reach it: every choice is a fresh attack
 * behind the run's meta-prompt. A plain prompt is the beginning of an attack.
 * @throws FloodgateError `run` when the stage has left no attacker.
 */
export async function openServedAttacker(
  run: { readonly folder: RunFolder; readonly stage: string },
  io: CampaignIo,
  options: Pick<ServeModelOptions, 'id'> = {},
): Promise<ServedModel> {
  const { folder, stage } = run;
  const trained = await openTrainedAttacker(folder, stage, io);
  return servedAttacker(trained, {
    id: options.id ?? `${folder.name}/${stage}`,
    fingerprint: `fp_${folder.name}_${stage}`,
  });
}

/**
 * Opens the attacker of a folder, exported or imported. With the run's number of threads, its default, it answers as the
 * run's attacker does, to the last bit.
 * @throws FloodgateError as `openExportedAttacker`.
 */
export async function openServedExport(
  folder: AttackerFolder,
  io: CampaignIo,
  { id = folder.name, ...options }: ServeModelOptions = {},
): Promise<ServedModel> {
  const exported = await openExportedAttacker(folder, io, options);
  const { adapter, policy } = exported.file;
  const threads = options.threads ?? policy.threads;
  return servedAttacker(exported, { id, fingerprint: `fp_${adapter.sha256.slice(0, PREFIX)}_${threads}` });
}

/** An attacker that its `close` closes. */
type OpenedAttacker = StageAttacker & { close(): Promise<void> };

function servedAttacker(opened: OpenedAttacker, names: Pick<ServedModel, 'id' | 'fingerprint'>): ServedModel {
  const { attacker, state } = opened;
  const { tokenizer, contextTokens, cells } = attacker.spec;
  return {
    ...names,
    ...(cells === undefined ? {} : { cells: cells.map(({ name }) => name) }),
    tokenizer,
    contextTokens,
    isTrimmed: true,
    chatPrompt: (_messages, cell) => attackPrompt(opened, [], cell),
    textPrompt: (prompt, cell) =>
      attackPrompt(opened, typeof prompt === 'string' ? beginningOf(opened, prompt) : prompt, cell),
    streamOf: (seed, prompt, choice) =>
      prompt === 0 ? sampleStream(seed, choice) : randomStream(seed, 'serve', prompt, choice),
    generate: (request) => attacker.generate({ ...request, state }),
    close: () => opened.close(),
  };
}

function beginningOf({ attacker }: StageAttacker, text: string): readonly number[] {
  return text.trim() === '' ? [] : attacker.tokensOf(text).tokens;
}

function attackPrompt(
  { attacker }: StageAttacker,
  beginning: readonly number[],
  cell: string | undefined,
): ServedPrompt {
  const { minTokens, maxTokens } = attacker.spec;
  return {
    ids: [...attacker.promptOf(cell), ...beginning],
    minNewTokens: Math.max(0, minTokens - beginning.length),
    maxNewTokens: maxTokens - beginning.length,
  };
}
