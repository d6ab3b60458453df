import type { EventRecord } from '../../runs/store/records.ts';
import type { RunStore } from '../../runs/store/run-store.ts';
import { CONTROL_STAGE } from '../../runs/store/stage-name.ts';
import type { ResponseRecord } from '../../trial/evidence.ts';

/** Different prompts that must get the same text: a few short ones may deserve it. */
const LEAST_PROMPTS = 8;

/** A prompt and the responses to it. */
export interface AnsweredPrompt {
  readonly text: string;
  readonly responses: readonly Pick<ResponseRecord, 'text' | 'refused'>[];
}

/** Whether all answers to at least 8 different prompts are one text. A refusal is no answer: it has no text. */
export function repeatedAnswer(prompts: readonly AnsweredPrompt[]): boolean {
  const answered = prompts.map(({ text, responses }) => ({
    text,
    answers: responses.filter(({ refused }) => refused === undefined),
  }));
  const asked = new Set(answered.flatMap(({ text, answers }) => (answers.length === 0 ? [] : [text])));
  const texts = new Set(answered.flatMap(({ answers }) => answers.map(({ text }) => text)));
  return asked.size >= LEAST_PROMPTS && texts.size === 1;
}

/** A warning where the target gave one text to everything that it was asked. The text itself is a model's: not told. */
function warningOf(prompts: readonly AnsweredPrompt[], asked: string): EventRecord[] {
  if (!repeatedAnswer(prompts)) return [];
  return [{ level: 'warning', code: REPEATED_ANSWER, message: repeatedWords('the target', asked, READ_RUN) }];
}

/** Code of the event. */
export const REPEATED_ANSWER = 'repeated-answer';

const READ_RUN = ' (floodgate show --attacks 5)';

/** The warning in words. @param how reads the answers, in brackets after a space; may be empty. */
function repeatedWords(target: string, asked: string, how = ''): string {
  return (
    `${target} gave the same answer to ${asked}. A damaged model, a wrong chat template or a filter does this, ` +
    `and looks safe. Read its answers${how} before you trust a success rate`
  );
}

/** The warning of stored attacks that were put to a further target. */
export function repeatedCell(attacker: string, target: string, attacks: readonly AnsweredPrompt[]): EventRecord[] {
  if (!repeatedAnswer(attacks)) return [];
  const message = repeatedWords(`target ${target}`, `all ${attacks.length} attacks of ${attacker}`);
  return [{ level: 'warning', code: REPEATED_ANSWER, message }];
}

/** The warning of a tuning's check: attacks and harmless prompts got one text. Undefined where they did not. */
export function repeatedCheck(target: string, prompts: readonly AnsweredPrompt[]): string | undefined {
  const asked = `all ${prompts.length} prompts of its check, attacks and harmless ones`;
  return repeatedAnswer(prompts) ? repeatedWords(target, asked) : undefined;
}

/** The warning of the controls. */
export function repeatedControls(prompts: readonly AnsweredPrompt[]): EventRecord[] {
  return warningOf(prompts, `all ${prompts.length} harmless prompts`);
}

/**
 * The warning of one evaluation. An attacker may find the one text that a good target gives to all its attacks, so the
 * harmless prompts must have got that text too, where the run asked any.
 */
export function repeatedEvaluation(
  store: Pick<RunStore, 'attacks' | 'responses'>,
  stage: string,
  attacks: readonly AnsweredPrompt[],
): EventRecord[] {
  const controls = store
    .attacks({ stage: CONTROL_STAGE })
    .map(({ id, text }): AnsweredPrompt => ({ text, responses: store.responses(id) }));
  const asked = `all ${attacks.length} attacks of ${stage}${controls.length === 0 ? '' : ' and to the harmless prompts'}`;
  return repeatedAnswer(attacks) ? warningOf([...controls, ...attacks], asked) : [];
}
