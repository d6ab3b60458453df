import type { Exchange } from '../../judges/judge.ts';
import type { TargetAnswer, TargetRequest } from '../../targets/target.ts';
import type { Trial } from '../../trial/trial.ts';

/** Decides which answers may be learned: safe by every judge, and of the kind that was asked for. */
export interface AnswerFilter {
  readonly judge: Trial['judge'];
  /** P(unsafe) above which an answer is not learned. A judge that could not score lets nothing through. */
  readonly maxUnsafe: number;
  /** Tells refusals from polite compliance; absent where the two cannot be told apart (a world's answers of one word). */
  readonly isRefusal?: (answer: string) => boolean;
}

function isOfKind({ isRefusal }: AnswerFilter, answer: string, wanted: Wanted): boolean {
  return isRefusal === undefined || isRefusal(answer) === (wanted === 'refusal');
}

/** An answer that passed the filter. `isWhole`: it ends there, and so is learned with its end token. */
export interface WrittenAnswer {
  readonly text: string;
  readonly isWhole: boolean;
  readonly source: 'target' | 'template';
}

/** Why candidates were not learned. */
export interface RejectionCounts {
  /** Empty, or cut before its first whole sentence. */
  unfinished: number;
  /** P(unsafe) above the bound by some judge, or not scored. */
  unsafe: number;
  /** It complies where a refusal was asked for, or refuses where an answer was. */
  wrongKind: number;
}

export const createRejectionCounts = (): RejectionCounts => ({ unfinished: 0, unsafe: 0, wrongKind: 0 });

type Wanted = 'refusal' | 'answer';

type Draft = Pick<WrittenAnswer, 'text' | 'isWhole'>;

/**
 * An answer as it may be learned; undefined for one that says nothing. A refusal that was cut ends at its last whole
 * sentence. A longer answer may be cut anywhere, and then has no end.
 */
function tidy(answer: TargetAnswer, wanted: Wanted): Draft | undefined {
  const trimmed = answer.kind === 'text' ? answer.text.trim() : '';
  if (answer.kind !== 'text' || trimmed === '') return undefined;
  if (!answer.truncated) return { text: trimmed, isWhole: true };
  if (wanted === 'answer') return { text: trimmed, isWhole: false };
  const sentences = /^[\s\S]*[.!?](?=\s|$)/.exec(trimmed)?.[0];
  return sentences === undefined ? undefined : { text: sentences, isWhole: true };
}

async function areSafe(exchanges: readonly Exchange[], { judge, maxUnsafe }: AnswerFilter): Promise<boolean[]> {
  const safe = exchanges.map(() => true);
  for (const verdicts of await judge(exchanges)) {
    for (const [i, verdict] of verdicts.entries()) {
      if (verdict.kind !== 'scored' || verdict.unsafe > maxUnsafe) safe[i] = false;
    }
  }
  return safe;
}

export interface WriteOptions {
  /** Draws the candidates of each request; the first that passes is kept. */
  readonly ask: Trial['ask'];
  readonly filter: AnswerFilter;
  readonly wanted: Wanted;
  /** Counts the candidates that did not pass. */
  readonly rejected: RejectionCounts;
}

/** One answer of the target's own to each request; undefined where no candidate passed or the target cannot be asked. */
export async function writeAnswers(
  requests: readonly TargetRequest[],
  { ask, filter, wanted, rejected }: WriteOptions,
): Promise<(WrittenAnswer | undefined)[]> {
  const answers = await ask(requests);
  const drafts = requests.flatMap((request, i) =>
    (answers[i] ?? []).flatMap((answer) =>
      answer.kind === 'failed' ? [] : [{ request, draft: tidy(answer, wanted) }],
    ),
  );
  const finished = drafts.flatMap(({ request, draft }) => (draft === undefined ? [] : [{ request, draft }]));
  rejected.unfinished += drafts.length - finished.length;
  const exchanges = finished.map(({ request, draft }) => ({ attack: request.attack, response: draft.text }));
  const safe = await areSafe(exchanges, filter);
  const accepted = new Map<TargetRequest, WrittenAnswer>();
  for (const [i, { request, draft }] of finished.entries()) {
    if (!safe[i]) rejected.unsafe++;
    else if (!isOfKind(filter, draft.text, wanted)) rejected.wrongKind++;
    else if (!accepted.has(request)) accepted.set(request, { ...draft, source: 'target' });
  }
  return requests.map((request) => accepted.get(request));
}

/** The first of `templates` that passes the filter as an answer to `attack`; undefined when none does. */
export async function chooseTemplate(
  attack: string,
  templates: readonly string[],
  filter: AnswerFilter,
): Promise<WrittenAnswer | undefined> {
  const safe = await areSafe(
    templates.map((response) => ({ attack, response })),
    filter,
  );
  const text = templates.find((template, i) => safe[i] && isOfKind(filter, template, 'refusal'));
  return text === undefined ? undefined : { text, isWhole: true, source: 'template' };
}
