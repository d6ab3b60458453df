import { FloodgateError } from '../../base/errors.ts';
import { type ComputeOptions, defaultThreads } from '../../engine/runtime/device.ts';
import { type Judge } from '../../judges/judge.ts';
import { detectRefusal } from '../../judges/refusal-detector.ts';
import { type DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { createOpenModels, type OpenedEncoder, type OpenModels } from '../../models/open-models.ts';
import { resolveModel } from '../../models/sources/resolve-model.ts';
import { type CampaignIo } from '../../stages/stage.ts';
import { openRunDecoder, openRunEncoder, openRunJudge } from '../../stages/campaign/open-run-models.ts';
import { openRunWorld } from '../../stages/campaign/run-world.ts';
import { type Config } from '../../stages/config/config-schema.ts';
import { WORLD } from '../../worlds/world-preset.ts';
import { fileBenignPrompts, worldBenignPrompts } from '../../stages/evaluation/benign-prompts.ts';
import { readBorderlinePrompts, readRefusalTemplates } from '../../stages/evaluation/dialogue-files.ts';
import { openLocalTarget } from '../../targets/local-target.ts';
import { type Target } from '../../targets/target.ts';
import { POLITE_WORDS } from '../../worlds/vocabulary.ts';
import { type World } from '../../worlds/world.ts';
import { type AnswerExample } from '../../learning/loops/answer-likelihood.ts';
import { renderChatIds } from '../../models/tokenizer/prompt-ids.ts';
import { type AttackEncoder, createAttackEncoder, type LocalPromptOptions } from '../../targets/local-prompt.ts';

/** The target to tune, and how it is asked. */
export interface TuneSubject {
  readonly checkpoint: DecoderCheckpoint;
  /** Folder or GGUF file; undefined for a world's model, which has no files of its own. */
  readonly source: string | undefined;
  readonly template: 'chat' | 'plain';
  readonly systemPrompt: string | undefined;
  readonly compute: ComputeOptions;
  /** What a reader must know of how it is asked. */
  readonly warnings: readonly string[];
}

/** Prompts and answers that the data is made from. */
export interface TuneTexts {
  readonly templates: readonly string[];
  readonly benignPrompts: readonly string[];
  /** Prompts that are never learned, for the check. */
  readonly heldOutBenign: readonly string[];
  readonly borderline: readonly string[];
  readonly isRefusal: ((answer: string) => boolean) | undefined;
}

export interface TuneModels {
  readonly world: World | undefined;
  readonly openModels: OpenModels;
  readonly threads: number;
}

export async function openTuneModels(config: Config, io: CampaignIo): Promise<TuneModels> {
  const threads = config.threads ?? defaultThreads();
  return { world: await openRunWorld(config, io), openModels: createOpenModels({ threads, ...io }), threads };
}

/** The model's own template where it has one; the run's own choice for the run's own target. */
function chooseTemplate(checkpoint: DecoderCheckpoint, asked: 'chat' | 'plain' | undefined) {
  if (asked !== undefined) return { template: asked, warnings: [] };
  if (checkpoint.chatTemplate !== undefined) return { template: 'chat' as const, warnings: [] };
  const warning = `${checkpoint.spec} has no chat template: attacks and answers stand as plain text`;
  return { template: 'plain' as const, warnings: [warning] };
}

/**
 * The target of the run, or the model of `spec` in its place.
 * @throws FloodgateError `usage` when the run's target is no model; `source`, `format`, `target` as the model says.
 */
export async function openSubject(
  config: Config,
  wanted: { readonly target?: string; readonly template?: 'chat' | 'plain' },
  { world, openModels, threads }: TuneModels,
  io: CampaignIo,
): Promise<TuneSubject> {
  const own = config.target.kind === 'local' ? config.target : undefined;
  const spec = wanted.target ?? own?.model;
  if (spec === undefined) {
    throw new FloodgateError('usage', 'tune: the target of this run is scripted, and a script cannot be tuned', {
      hint: 'name a model with --target',
    });
  }
  const checkpoint = await openRunDecoder(openModels, spec, 'target', world);
  const isOwn = wanted.target === undefined || wanted.target === own?.model;
  const { template, warnings } = chooseTemplate(checkpoint, wanted.template ?? (isOwn ? own?.template : undefined));
  const source =
    spec === WORLD
      ? undefined
      : (await resolveModel(spec, io.cacheDir === undefined ? {} : { cacheDir: io.cacheDir })).path;
  return {
    checkpoint,
    source,
    template,
    systemPrompt: own?.systemPrompt,
    compute: { device: own?.device ?? 'cpu', threads },
    warnings,
  };
}

/** The subject as a target; `systemPrompt` in place of its own where one is given. Close it when done. */
export function openSubjectTarget(subject: TuneSubject, seed: number, systemPrompt?: string): Promise<Target> {
  const { checkpoint, template, compute } = subject;
  const system = systemPrompt ?? subject.systemPrompt;
  return openLocalTarget({
    checkpoint,
    template,
    seed,
    compute,
    ...(system === undefined ? {} : { systemPrompt: system }),
  });
}

/** The training judge first, then the others; each name once. Close them when done. */
export async function openTuneJudges(config: Config, { openModels, world }: TuneModels): Promise<Judge[]> {
  const judges = new Map<string, Judge>();
  for (const judgeConfig of [config.judges.training, ...config.judges.evaluation]) {
    const judge = await openRunJudge(judgeConfig, openModels, world);
    if (judges.has(judge.name)) await judge.close();
    else judges.set(judge.name, judge);
  }
  return [...judges.values()];
}

export function openTuneEncoder(config: Config, { openModels }: TuneModels): Promise<OpenedEncoder> {
  return openRunEncoder(config, openModels);
}

/** A world's polite words are its refusals, and its seeds without a key are benign. */
function worldTexts(world: World): TuneTexts {
  const { training, heldOut } = worldBenignPrompts(world);
  return {
    templates: POLITE_WORDS,
    benignPrompts: training,
    heldOutBenign: heldOut,
    borderline: [],
    isRefusal: undefined,
  };
}

/** Templates and prompts of the config's files, of ours where it names none, or of the world. */
export async function loadTuneTexts({ tuning }: Config, { world }: TuneModels): Promise<TuneTexts> {
  if (world !== undefined) return worldTexts(world);
  const { training, heldOut } = await fileBenignPrompts(tuning.benign.path);
  return {
    templates: await readRefusalTemplates(tuning.refusals.templates),
    benignPrompts: training,
    heldOutBenign: heldOut,
    borderline: (await readBorderlinePrompts()).map(({ prompt }) => prompt),
    isRefusal: (answer) => detectRefusal(answer).isRefusal,
  };
}

/** A prompt and an answer as token ids. `isWhole`: the answer ends there, so that its end token is learned too. */
export type AnswerEncoder = (prompt: string, answer: string, isWhole: boolean) => AnswerExample;

/**
 * The token that closes an assistant's turn in the model's own template, which need not be the tokenizer's end of text.
 */
export function turnEndId({ chatTemplate, tokenizer }: DecoderCheckpoint): number {
  const fallback = tokenizer.endIds[0] as number;
  if (chatTemplate === undefined) return fallback;
  const messages = [
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b' },
  ] as const;
  const ids = renderChatIds(chatTemplate, tokenizer, messages, { addGenerationPrompt: false });
  return ids.findLast((id) => tokenizer.endIds.includes(id)) ?? fallback;
}

/**
 * Returns what encodes dialogues for tuning just as the target is asked: the same template, system prompt and assistant
 * header before the answer. Control tokens in either text are read as text.
 * @throws FloodgateError `target` when a chat is asked of a model without a chat template.
 */
export function createAnswerEncoder(options: LocalPromptOptions): AnswerEncoder {
  const { checkpoint, template } = options;
  const { tokenizer } = checkpoint;
  const encodePrompt: AttackEncoder = createAttackEncoder(options);
  const endId = template === 'chat' ? turnEndId(checkpoint) : (tokenizer.endIds[0] as number);
  return (prompt, answer, isWhole) => {
    // Without a template nothing stands between the two: a space keeps the last word from growing into the answer.
    const gap = template === 'plain' && !/\s$/.test(prompt) && !/^\s/.test(answer) ? ' ' : '';
    const ids = tokenizer.encode(gap + answer, { addSpecial: false, parseSpecial: false });
    return { prompt: encodePrompt(prompt), answer: isWhole || ids.length === 0 ? [...ids, endId] : ids };
  };
}
