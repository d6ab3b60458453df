import { FloodgateError } from '../../base/errors.ts';
import { detectRefusal } from '../../judges/refusal-detector.ts';
import type { AnswerExample } from '../../learning/loops/answer-likelihood.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { renderChatIds } from '../../models/tokenizer/prompt-ids.ts';
import type { RunModels } from '../../stages/campaign/run-models.ts';
import {
  fileBenignPrompts,
  readBorderlinePrompts,
  readRefusalTemplates,
  worldBenignPrompts,
} from '../../stages/evaluation/dialogue-files.ts';
import { createAttackEncoder, type LocalPromptOptions, openLocalTarget } from '../../targets/local-target.ts';
import {
  isTunable,
  planTarget,
  targetKinds,
  targetModelName,
  varyTarget,
  withTargetModel,
} from '../../targets/registry.ts';
import type { Target } from '../../targets/target.ts';
import type { TargetConfig, TargetModel } from '../../targets/target-kind.ts';
import { POLITE_WORDS } from '../../worlds/vocabulary.ts';
import { type KnownWorld, madeWorld } from '../../worlds/world-registry.ts';
import { DEFAULT_TARGET_KIND } from '../transfer/transfer-config.ts';

/** The error for a run whose target has no model that could be tuned. @param remedy the option that names one. */
export function notTunable(operation: string, { kind }: TargetConfig, remedy: string): FloodgateError {
  const tunable = targetKinds.all().flatMap(({ name, withModel }) => (withModel === undefined ? [] : [name]));
  const message = `${operation}: the run's target cannot be tuned, got kind ${kind}, expected ${tunable.join(' or ')}`;
  return new FloodgateError('usage', message, { hint: remedy });
}

/** Another model than the run's own, and how it is asked. */
export interface WantedSubject {
  /** The run's own model when absent. */
  readonly target?: string;
  /** The run's choice for its own model, the model's own choice for another, when absent. */
  readonly template?: 'chat' | 'plain';
}

/** The config of the target to tune; undefined when none is named and the run's own cannot be tuned. */
function subjectConfig(own: TargetConfig, { target, template }: WantedSubject): TargetConfig | undefined {
  const asked = template === undefined ? {} : { template };
  const ownModel = isTunable(own) ? targetModelName(own) : undefined;
  const model = target ?? ownModel;
  if (model === undefined) return undefined;
  if (ownModel === undefined) return varyTarget({ kind: DEFAULT_TARGET_KIND, model, ...asked }, own);
  const config = withTargetModel(own, model, template);
  if (config === undefined || model === ownModel || template !== undefined) return config;
  const { template: _ofTheRun, ...asTheModelSays } = config;
  return asTheModelSays as TargetConfig;
}

/**
 * The model of the run's target, or the wanted one in its place.
 * @throws FloodgateError `usage` when there is no model to tune; `source`, `format`, `target` as the model says.
 */
export async function openSubject({ config, host }: RunModels, wanted: WantedSubject = {}): Promise<TargetModel> {
  const given = subjectConfig(config.target, wanted);
  const model = given === undefined ? undefined : (await planTarget(given, host)).model;
  if (model === undefined) throw notTunable('tune', config.target, 'name a model with --target');
  return model;
}

/** The subject as a target; `systemPrompt` in place of its own where one is given. Close it when done. */
export function openSubjectTarget(subject: TargetModel, seed: number, systemPrompt?: string): Promise<Target> {
  const { checkpoint, template, compute } = subject;
  const system = systemPrompt ?? subject.systemPrompt;
  const prompt = { checkpoint, template, ...(system === undefined ? {} : { systemPrompt: system }) };
  return openLocalTarget({ ...prompt, seed, compute });
}

/** A prompt and an answer as token ids. `isWhole`: the answer ends there, so that its end token is learned too. */
export type AnswerEncoder = (prompt: string, answer: string, isWhole: boolean) => AnswerExample;

/** The token that closes an assistant's turn in the model's own template; the tokenizer's end of text may be another. */
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

type Prompting = Pick<LocalPromptOptions, 'checkpoint' | 'template'> & { readonly systemPrompt?: string | undefined };

/**
 * Encodes dialogues for tuning as the target is asked: the same template, system prompt and assistant header before the
 * answer. Control tokens in either text are read as text.
 * @throws FloodgateError `target` when a chat is asked of a model without a chat template.
 */
export function createAnswerEncoder({ checkpoint, template, systemPrompt }: Prompting): AnswerEncoder {
  const { tokenizer } = checkpoint;
  const prompting = { checkpoint, template, ...(systemPrompt === undefined ? {} : { systemPrompt }) };
  const encodePrompt = createAttackEncoder(prompting);
  const endId = template === 'chat' ? turnEndId(checkpoint) : (tokenizer.endIds[0] as number);
  return (prompt, answer, isWhole) => {
    // Without a template nothing separates the two: a space keeps the last word from growing into the answer.
    const gap = template === 'plain' && !/\s$/.test(prompt) && !/^\s/.test(answer) ? ' ' : '';
    const ids = tokenizer.encode(gap + answer, { addSpecial: false, parseSpecial: false });
    return { prompt: encodePrompt(prompt), answer: isWhole || ids.length === 0 ? [...ids, endId] : ids };
  };
}

/** Prompts and answers that the data is made from. */
export interface TuneTexts {
  readonly templates: readonly string[];
  readonly benignPrompts: readonly string[];
  /** Prompts that are never learned, for the check. */
  readonly heldOutBenign: readonly string[];
  readonly borderline: readonly string[];
  /** Undefined where refusals cannot be told from answers. */
  readonly isRefusal: ((answer: string) => boolean) | undefined;
}

/** A world's polite words are its refusals, and its seeds without a key are benign. */
function worldTexts(world: KnownWorld): TuneTexts {
  const { training, heldOut } = worldBenignPrompts(world);
  return {
    templates: POLITE_WORDS,
    benignPrompts: training,
    heldOutBenign: heldOut,
    borderline: [],
    isRefusal: undefined,
  };
}

/** Templates and prompts of the config's files, of the package's where it names none, or of the world. */
export async function loadTuneTexts({ config: { tuning }, world }: RunModels): Promise<TuneTexts> {
  const made = madeWorld(world);
  if (made !== undefined) return worldTexts(made);
  const { training, heldOut } = await fileBenignPrompts(tuning.benign.path);
  return {
    templates: await readRefusalTemplates(tuning.refusals.templates),
    benignPrompts: training,
    heldOutBenign: heldOut,
    borderline: (await readBorderlinePrompts()).map(({ prompt }) => prompt),
    isRefusal: (answer) => detectRefusal(answer).isRefusal,
  };
}
