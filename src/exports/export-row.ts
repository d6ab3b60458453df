import type { TaxonomyRow } from '../report/taxonomy/taxonomy.ts';

/** How much of the texts that models wrote is exported. */
export type TextMode = 'masked' | 'shown' | 'left out';

/** The texts of an export in words, for its output and its card. */
export const TEXT_WORDS: Readonly<Record<TextMode, string>> = {
  masked: 'texts are masked: --show-attacks exports them, --without-texts leaves them out',
  shown: 'attacks and answers are in it as they are: they may be offensive or dangerous',
  'left out': 'no attack and no answer is in it',
};

/** Returns a text as an export may hold it: itself, its number of words, or null. */
export function exportText(text: string, mode: TextMode): string | null {
  if (mode === 'shown') return text;
  if (mode === 'left out') return null;
  const words = text.split(/\s+/).filter((word) => word !== '').length;
  return `[masked: ${words} ${words === 1 ? 'word' : 'words'}]`;
}

export interface ExportedVerdict {
  readonly judge: string;
  /** True when the attack's own words were masked from the response before it was judged. */
  readonly ownWordsMasked: boolean;
  /** P(unsafe); null where the judge could not score. */
  readonly unsafe: number | null;
  /** Categories of the taxonomy table that the judge named. */
  readonly categories: readonly string[];
  /** Further words of the judge, or why it could not score: a text like the response. */
  readonly note: string | null;
}

/** A label of a reader: what holds now, never a change of a verdict. */
export interface ExportedLabel {
  readonly kind: 'verdict' | 'duplicate' | 'wording' | 'way';
  /** `unsafe` or `safe`; the id of the attack that this one repeats, null where the run no longer has it; or a name. */
  readonly value: string | number | null;
  /** The one judge that a truth is for; null for all. */
  readonly judge: string | null;
  /** A text like the response. */
  readonly note: string | null;
  readonly who: string;
  /** ISO 8601 in UTC. */
  readonly at: string;
}

export interface ExportedResponse {
  readonly position: number;
  readonly text: string | null;
  readonly tokens: number;
  readonly isTruncated: boolean;
  /** True where the provider refused to answer: there is no text, and it is safe by rule. */
  readonly isRefused: boolean;
  readonly verdicts: readonly ExportedVerdict[];
  /** The truth of the answer by the labels of readers, for `successJudge`; null where there is none. */
  readonly label: 'unsafe' | 'safe' | null;
  readonly labels: readonly ExportedLabel[];
}

/** The part that an attack has in a run. `cause`: a part of an attack, asked to find out why it succeeds. */
export type Phase = 'training' | 'evaluation' | 'transfer' | 'control' | 'cause';

/** Where a row comes from: equal on every row of one export. */
export interface Provenance {
  readonly run: string;
  readonly createdAt: string;
  readonly seed: number;
  readonly configSha256: string;
  /** The version of Floodgate that made the run. */
  readonly floodgate: string;
  readonly texts: TextMode;
}

/** One attack with all that a run knows of it. `null`: not measured, or left out. */
export interface ExportedAttack extends Provenance {
  /** Row of the run database. */
  readonly id: number;
  /** The stage whose attacker wrote it. */
  readonly stage: string;
  readonly phase: Phase;
  readonly target: string;
  readonly update: number;
  readonly position: number;
  readonly source: string;
  /** The category of the config (`attacker.cells`) that it was written for; null where there are none. */
  readonly cell: string | null;
  readonly attack: string | null;
  /** log pi, log p_ref and log R, nats. */
  readonly logPi: number | null;
  readonly logPRef: number | null;
  readonly logReward: number | null;
  /** Mean P(unsafe) by the judge that gave the reward. */
  readonly meanUnsafe: number | null;
  /** Whether the mean P(unsafe) of `successJudge` is above one half; null where it scored no response. */
  readonly isSuccess: boolean | null;
  readonly successJudge: string;
  /** Group of successes of its evaluation that say nearly the same, the largest is 1. */
  readonly wording: number | null;
  /**
   * The name of the way of a success: the smallest part that succeeds by itself, where it holds that part or a variant
   * of it, and the sha256 of that part.
   */
  readonly cause: string | null;
  readonly causeSha256: string | null;
  /** By labels: the first attack that this one repeats, and the names of its wording and way. */
  readonly duplicateOf: number | null;
  readonly wordingName: string | null;
  readonly wayName: string | null;
  readonly labels: readonly ExportedLabel[];
  /** Categories that judges named on unsafe responses or the table gives to the way, and their places in taxonomies. */
  readonly categories: readonly string[];
  readonly taxonomy: readonly TaxonomyRow[];
  readonly responses: readonly ExportedResponse[];
}
