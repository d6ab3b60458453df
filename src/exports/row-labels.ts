import { answerKey, attackKey, type Label, type Labels, originalOf } from '../runs/store/labels.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import { type ExportedLabel, exportText, type TextMode } from './export-row.ts';
import { attacksOf, exportedStages } from './stage-rows.ts';

/** The labels of an export's rows. */
export interface RowLabels {
  /** Fields of an attack. @param sha256 of the cause of its way. */
  ofAttack(text: string, id: number, sha256: string | undefined): AttackLabels;
  /** The labels of an answer, and its truth for one judge. */
  ofAnswer(attack: string, response: string): { readonly labels: readonly ExportedLabel[]; readonly label: Truth };
  wayName(sha256: string): string | null;
}

type Truth = 'unsafe' | 'safe' | null;

interface AttackLabels {
  readonly duplicateOf: number | null;
  readonly wordingName: string | null;
  readonly wayName: string | null;
  readonly labels: readonly ExportedLabel[];
}

/** The rows of the attacks that others repeat; of several with one text, the one that a reader named, else the first. */
function originalRows(store: RunStore, labels: Labels): ReadonlyMap<string, number> {
  const rows = new Map<string, number>();
  const wanted = new Map<string, Set<number | null>>();
  for (const label of labels.all) {
    if (label.kind !== 'duplicate' || label.value === null) continue;
    wanted.set(label.value, (wanted.get(label.value) ?? new Set()).add(label.original));
  }
  if (wanted.size === 0) return rows;
  for (const { key: stage } of exportedStages(store)) {
    for (const { id, text } of attacksOf(store, stage)) {
      const key = attackKey(text);
      if (wanted.has(key) && (!rows.has(key) || wanted.get(key)?.has(id))) rows.set(key, id);
    }
  }
  return rows;
}

export interface RowLabelParts {
  readonly labels: Labels;
  readonly texts: TextMode;
  /** The judge whose labels say the truth of an answer, where there are several. */
  readonly judge: string;
  /** Names of wordings by row of the database. */
  readonly wordingNames: ReadonlyMap<number, string>;
  readonly cut: (text: string) => string;
}

/** Returns the labels of an export's rows. Reads the database once where attacks are labelled as duplicates. */
export function createRowLabels(store: RunStore, parts: RowLabelParts): RowLabels {
  const { labels, texts, judge, wordingNames, cut } = parts;
  const originals = originalRows(store, labels);
  const rowOf = (key: string | null | undefined): number | null => (key == null ? null : (originals.get(key) ?? null));
  const cutOrNull = (text: string | null | undefined): string | null => (text == null ? null : cut(text));
  const exported = (label: Label): ExportedLabel => {
    const { kind, who, at, note } = label;
    return {
      ...{ kind, who: cut(who), at, note: note === null ? null : exportText(cut(note), texts) },
      value: label.kind === 'duplicate' ? rowOf(label.value) : cutOrNull(label.value),
      judge: label.kind === 'verdict' ? cutOrNull(label.judge) : null,
    };
  };
  const bySubject = new Map<string, Label[]>();
  for (const label of labels.all) bySubject.set(label.subject, [...(bySubject.get(label.subject) ?? []), label]);
  const labelsOf = (subject: string): ExportedLabel[] => (bySubject.get(subject) ?? []).map(exported);
  const wayName = (sha256: string): string | null => cutOrNull(labels.find('way', sha256)?.value);
  if (labels.all.length === 0) {
    const none = { duplicateOf: null, wordingName: null, wayName: null, labels: [] };
    return { ofAttack: () => none, ofAnswer: () => ({ labels: [], label: null }), wayName: () => null };
  }
  return {
    wayName,
    ofAttack: (text, id, sha256) => {
      const key = attackKey(text);
      return {
        duplicateOf: rowOf(originalOf(labels, key)),
        wordingName: cutOrNull(wordingNames.get(id) ?? labels.find('wording', key)?.value),
        wayName: sha256 === undefined ? null : wayName(sha256),
        labels: labelsOf(key),
      };
    },
    ofAnswer: (attack, response) => {
      const key = answerKey(attack, response);
      return { labels: labelsOf(key), label: labels.find('verdict', key, judge)?.value ?? null };
    },
  };
}
