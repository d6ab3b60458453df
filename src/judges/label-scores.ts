/** P(unsafe) of a guard from what its server returns: a text and, with most servers, log-probs of its tokens. */
import { z } from 'zod';
import { maxOf } from '../base/long-lists.ts';
import type { GuardLabel } from './guard-judge.ts';

/** A token at one position, with its natural log-probability. */
interface Candidate {
  readonly token: string;
  readonly logProb: number;
}

/** One generated token, and the likely ones in its place. */
export interface TokenPosition {
  readonly token: string;
  readonly candidates: readonly Candidate[];
}

const logProb = z.number().max(1e-3);

/** Log-probs of `/completions`: lists in parallel. */
const listed = z.looseObject({
  tokens: z.array(z.string()),
  top_logprobs: z.array(z.record(z.string(), logProb.nullable()).nullable()),
});

/** Log-probs of `/chat/completions`, and of newer servers for `/completions` too. */
const perToken = z.looseObject({
  content: z.array(
    z.looseObject({
      token: z.string(),
      top_logprobs: z.array(z.looseObject({ token: z.string(), logprob: logProb })).nullish(),
    }),
  ),
});

/** The log-probs of a choice; none where the server sends none, or in a form that nobody knows. */
export function parseLogProbs(value: unknown): TokenPosition[] {
  const chat = perToken.safeParse(value);
  if (chat.success) {
    return chat.data.content.map(({ token, top_logprobs: top }) => ({
      token,
      candidates: (top ?? []).map((each) => ({ token: each.token, logProb: each.logprob })),
    }));
  }
  const lists = listed.safeParse(value);
  if (!lists.success) return [];
  const { tokens, top_logprobs: tops } = lists.data;
  return tokens.map((token, i) => ({
    token,
    candidates: Object.entries(tops[i] ?? {}).flatMap(([candidate, p]) =>
      p === null ? [] : [{ token: candidate, logProb: p }],
    ),
  }));
}

/** White space as tokenizers and servers write it. */
const SPACE = /^[\s\u0120\u010a\u2581]+/;

const bare = (token: string): string => token.replace(SPACE, '').toLowerCase();

/** Fewest letters of a token that is the beginning of a label. */
const LEAST_LETTERS = 2;

/** The label that a token begins or is; undefined for other text, and for a beginning that two labels share. */
function labelOf(token: string, labels: readonly GuardLabel[]): GuardLabel | undefined {
  const text = bare(token);
  const isIn = ({ text: label }: GuardLabel): boolean => {
    const whole = bare(label);
    if (text.length >= LEAST_LETTERS && whole.startsWith(text)) return true;
    return text.startsWith(whole) && !/^\p{L}/u.test(text.slice(whole.length));
  };
  const found = labels.filter(isIn);
  return found.length === 1 ? found[0] : undefined;
}

/** Where the label begins: behind the first marker, at the beginning without one; undefined where it is missing. */
function labelStart(written: string, marker: string | undefined): number | undefined {
  if (marker === undefined) return 0;
  const at = written.indexOf(marker);
  return at < 0 ? undefined : at + marker.length;
}

/** The position of the first token with text behind the marker, as the tokens spell it. */
function labelPosition(positions: readonly TokenPosition[], marker: string | undefined): TokenPosition | undefined {
  const pieces = positions.map(({ token }) => token.replace(SPACE, (space) => ' '.repeat(space.length)));
  const start = labelStart(pieces.join(''), marker);
  if (start === undefined) return undefined;
  let end = 0;
  const index = pieces.findIndex((piece) => {
    end += piece.length;
    return end > start && piece.slice(-(end - start)).trim() !== '';
  });
  return positions[index];
}

/** Weight of each label, 0 to 1: the share of its probability that counts as unsafe. */
export type LabelWeight = (label: GuardLabel) => number;

/** Share of unsafe probability among the labels at one position; undefined where no alternative to one is known. */
function shareOf(
  candidates: readonly Candidate[],
  labels: readonly GuardLabel[],
  weight: LabelWeight,
): number | undefined {
  const known = candidates.flatMap(({ token, logProb: p }) => {
    const label = labelOf(token, labels);
    return label === undefined ? [] : [{ label, p }];
  });
  if (candidates.length < 2 || known.length === 0) return undefined;
  const top = maxOf(known.map(({ p }) => p));
  let total = 0;
  let unsafe = 0;
  for (const { label, p } of known) {
    const probability = Math.exp(p - top);
    total += probability;
    unsafe += weight(label) * probability;
  }
  return unsafe / total;
}

/** P(unsafe) of a label that is known without a probability: near the end, never at it. */
const WITHOUT_LOG_PROBS = { safe: 0.02, unsafe: 0.98 };

/** The text of a guard, with its tokens. */
export interface GuardReply {
  readonly written: string;
  /** Empty where the server sends none. */
  readonly positions: readonly TokenPosition[];
}

export interface LabelScore {
  readonly unsafe: number;
  readonly isByText: boolean;
}

export interface LabelFormat {
  readonly labels: readonly GuardLabel[];
  readonly marker?: string | undefined;
}

/**
 * P(unsafe) from the log-probs at the label, exp(lp) normalised over the labels; from the label itself where there are
 * none. Undefined when nothing at that place is a label.
 * @param format without a `marker` when the prompt ends with it.
 */
export function scoreLabel(
  { written, positions }: GuardReply,
  { labels, marker }: LabelFormat,
  weight: LabelWeight,
): LabelScore | undefined {
  const candidates = labelPosition(positions, marker)?.candidates ?? [];
  const share = shareOf(candidates, labels, weight);
  if (share !== undefined) return { unsafe: share, isByText: false };
  const start = labelStart(written, marker);
  if (start === undefined) return undefined;
  const word = /^[\s*]*(\p{L}+)/u.exec(written.slice(start))?.[1] ?? '';
  const label = labels.find(({ text }) => bare(text) === word.toLowerCase());
  if (label === undefined) return undefined;
  const { safe, unsafe } = WITHOUT_LOG_PROBS;
  return { unsafe: safe + weight(label) * (unsafe - safe), isByText: true };
}
