import { z } from 'zod';
import { toParts } from '../report/sections/text-vault.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { type AttackPages, openAttackPages } from '../runs/store/attack-pages.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { answerKey, attackKey, type Label, type Labels } from '../runs/store/labels.ts';
import { hasBegun } from '../runs/store/run-store.ts';
import { shownLabel } from './label-answers.ts';
import { count, filled, parseQuery } from './view-query.ts';

const MAX_PAGE = 200;
const DEFAULT_PAGE = 50;

const query = z.strictObject({
  /** Also the rows that were replaced or taken back, and those that take back. */
  all: filled(z.literal('1')),
  before: filled(count(Number.MAX_SAFE_INTEGER)),
  limit: filled(count(MAX_PAGE)),
});

/** True where the row in which the reader saw a text still has that text: a resume may have written another one. */
function isStillThere(pages: AttackPages | undefined, { kind, attack, response, subject }: Label): boolean {
  const found = attack === null ? undefined : pages?.attack(attack);
  if (found === undefined) return false;
  const { text } = found.attack;
  if (kind !== 'verdict') return attackKey(text) === subject;
  const answer = found.responses.find(({ position }) => position === response);
  return answer !== undefined && answerKey(text, answer.text) === subject;
}

function listedLabel(label: Label, labels: ReadonlySet<number>, pages: AttackPages | undefined) {
  const { id, subject, attack, response } = label;
  return {
    ...{ id, subject, attack, response, ...shownLabel(label) },
    judge: label.kind === 'verdict' && label.judge !== null ? toParts(label.judge) : null,
    isThere: isStillThere(pages, label),
    holds: labels.has(id),
  };
}

/** Rows in the order of their ids, the newest first, from the one before `before` on. */
function pageOf(rows: readonly Label[], before: number, limit: number): readonly Label[] {
  const newest = [...rows].sort((a, b) => b.id - a.id);
  const start = newest.findIndex(({ id }) => id < before);
  return start < 0 ? [] : newest.slice(start, start + limit);
}

const counts = ({ all, history }: Labels) => ({ holding: all.length, rows: history.length });

/**
 * A page of the labels of a run, the newest first: who says what, when, and where the attack is. `isThere` is false
 * where the run has another text in that row now.
 * @throws ApiError 400.
 */
export function labelsAnswer(folder: RunFolder, given: URLSearchParams) {
  const { all, before = Number.MAX_SAFE_INTEGER, limit = DEFAULT_PAGE } = parseQuery(query, given);
  const labels = readLabels(folder.labelsPath);
  const rows = pageOf(all === '1' ? labels.history : labels.all, before, Math.max(1, limit) + 1);
  const shown = rows.slice(0, Math.max(1, limit));
  const holding = new Set(labels.all.map(({ id }) => id));
  const pages = shown.length > 0 && hasBegun(folder.databasePath) ? openAttackPages(folder.databasePath) : undefined;
  try {
    return {
      ...counts(labels),
      labels: shown.map((label) => listedLabel(label, holding, pages)),
      next: rows.length > shown.length ? (shown.at(-1)?.id ?? null) : null,
    };
  } finally {
    pages?.close();
  }
}
