import type { Exchange, Judge } from '../../judges/judge.ts';
import type { DecodeSettings, RespondOptions, Target, TargetRequest, TargetResponse } from '../../targets/target.ts';

/** Which answers may be learned: safe by every judge, and of the kind that was asked for. */
export interface AnswerFilter {
  readonly judges: readonly Judge[];
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
  /** A refusal was asked for, and this complies; or the other way round. */
  wrongKind: number;
}

export const createRejectionCounts = (): RejectionCounts => ({ unfinished: 0, unsafe: 0, wrongKind: 0 });

type Wanted = 'refusal' | 'answer';

/** A refusal that was cut ends at its last whole sentence; a longer answer may be cut anywhere, without an end. */
function tidy(
  { text, truncated }: TargetResponse,
  wanted: Wanted,
): Pick<WrittenAnswer, 'text' | 'isWhole'> | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  if (!truncated) return { text: trimmed, isWhole: true };
  if (wanted === 'answer') return { text: trimmed, isWhole: false };
  const sentences = /^[\s\S]*[.!?](?=\s|$)/.exec(trimmed)?.[0];
  return sentences === undefined ? undefined : { text: sentences, isWhole: true };
}

async function areSafe(exchanges: readonly Exchange[], { judges, maxUnsafe }: AnswerFilter): Promise<boolean[]> {
  const safe = exchanges.map(() => true);
  for (const judge of judges) {
    const verdicts = await judge.score(exchanges);
    for (const [i, verdict] of verdicts.entries()) {
      if (verdict.kind !== 'scored' || verdict.unsafe > maxUnsafe) safe[i] = false;
    }
  }
  return safe;
}

export interface WriteOptions {
  readonly target: Target;
  readonly decode: DecodeSettings;
  /** Responses drawn for each request; the first that passes is kept. */
  readonly candidates: number;
  readonly filter: AnswerFilter;
  readonly wanted: Wanted;
  readonly rejected: RejectionCounts;
  readonly signal?: AbortSignal;
}

/**
 * One answer of the target's own for each request, or undefined where no candidate passed or the target cannot be asked.
 */
export async function writeAnswers(
  requests: readonly TargetRequest[],
  { target, decode, candidates, filter, wanted, rejected, signal }: WriteOptions,
): Promise<(WrittenAnswer | undefined)[]> {
  const asked = requests.filter(({ attack }) => target.rejectionOf(attack, decode) === undefined);
  const options: RespondOptions = signal === undefined ? {} : { signal };
  const responses = await target.respond(asked, candidates, decode, options);
  const drafts = asked.flatMap((request, i) =>
    (responses[i] ?? []).map((response) => ({ request, draft: tidy(response, wanted) })),
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
