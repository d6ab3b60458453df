import { z } from 'zod';
import type { AttackSource } from '../learning/attack.ts';
import { isUnsafe } from '../learning/reward/reward.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { type AttackPages, openAttackPages, type PagedAttack } from '../runs/store/attack-pages.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { answerKey, type Labels, MAX_NAME } from '../runs/store/labels.ts';
import type { StoredResponse } from '../runs/store/records.ts';
import { hasBegun } from '../runs/store/run-store.ts';
import { ApiError } from '../serve/api-error.ts';
import { categoriesOfNote, topicFilter } from './attack-topics.ts';
import { answerLabel, attackLabels, wayOf } from './label-answers.ts';
import { textAnswer } from './text-answer.ts';
import { asksToShow, count, filled, parseQuery } from './view-query.ts';

/** Every source, so that a new one does not compile until it is here. */
const SOURCES: Readonly<Record<AttackSource, true>> = {
  ...{ fresh: true, tempered: true, rewritten: true, screened: true, replay: true, seed: true, reference: true },
  ...{ collected: true, evaluation: true, control: true, cause: true, transfer: true },
};

export const ATTACK_SOURCES = Object.keys(SOURCES) as readonly AttackSource[];

const MAX_PAGE = 200;
const DEFAULT_PAGE = 50;
/** A longer pattern would only slow the search down. */
const MAX_SEARCH = 200;

const query = z.strictObject({
  stage: filled(z.string().max(200)),
  source: filled(z.enum(ATTACK_SOURCES)),
  cell: filled(z.string().max(200)),
  outcome: filled(z.enum(['success', 'failure', 'unscored'])),
  judge: filled(z.string().max(200)),
  search: filled(z.string().max(MAX_SEARCH)),
  wording: filled(z.string().max(MAX_NAME)),
  group: filled(z.string().max(MAX_NAME)),
  cause: filled(z.string().regex(/^[0-9a-f]{64}$/)),
  category: filled(z.string().max(MAX_NAME)),
  before: filled(count(Number.MAX_SAFE_INTEGER)),
  limit: filled(count(MAX_PAGE)),
  show: filled(z.literal('1')),
});

function rowAnswer({ text, ...row }: PagedAttack, labels: Labels, isShown: boolean) {
  return { ...row, text: textAnswer(text, isShown), labels: attackLabels(labels, text) };
}

function responseAnswer(attack: string, response: StoredResponse, { labels, isShown }: Shown) {
  const { text, position, refused, verdicts, tokens, truncated } = response;
  const subject = answerKey(attack, text);
  return {
    ...{ position, tokens, truncated, isRefused: refused !== undefined, text: textAnswer(text, isShown) },
    ...{ subject, label: answerLabel(labels, subject) },
    // A judge's reason may quote the text that it read.
    verdicts: verdicts.map(({ judge, masked, unsafe, reason }) => {
      const truth = masked ? undefined : labels.find('verdict', subject, judge)?.value;
      return {
        ...{ judge, masked, unsafe },
        categories: unsafe === null || reason === undefined ? [] : categoriesOfNote(reason).map(({ title }) => title),
        // By the labels of readers; null where they say nothing, or the judge did not.
        isWrong: truth === undefined || unsafe === null ? null : isUnsafe(unsafe) !== (truth === 'unsafe'),
        // A reader labels verdicts on answers as they are; this one is for the judge alone.
        ...(masked || unsafe === null
          ? {}
          : { says: isUnsafe(unsafe) ? 'unsafe' : 'safe', label: answerLabel(labels, subject, judge) }),
        ...(reason === undefined ? {} : { reason: textAnswer(reason, isShown) }),
      };
    }),
  };
}

interface Shown {
  readonly labels: Labels;
  readonly isShown: boolean;
}

async function withPages<T>(folder: RunFolder, none: T, use: (pages: AttackPages) => T | Promise<T>): Promise<T> {
  if (!hasBegun(folder.databasePath)) return none;
  const pages = openAttackPages(folder.databasePath);
  try {
    return await use(pages);
  } finally {
    pages.close();
  }
}

/** A page of attacks, the newest first. @throws ApiError 400. */
export async function attacksAnswer(folder: RunFolder, given: URLSearchParams, signal: AbortSignal) {
  const { show, limit = DEFAULT_PAGE, wording, group, cause, category, ...filter } = parseQuery(query, given);
  const defined = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
  const none = { attacks: [], next: null, isFull: true };
  return withPages(folder, none, async (pages) => {
    const topics = await topicFilter(folder, pages, { wording, group, cause, category });
    if (topics === undefined) return none;
    const { attacks, ...rest } = await pages.page({ ...defined, ...topics, limit: Math.max(1, limit), signal });
    const labels = readLabels(folder.labelsPath);
    return { attacks: attacks.map((row) => rowAnswer(row, labels, show === '1')), ...rest };
  });
}

/** One attack with its answers and their verdicts. @throws ApiError 404. */
export async function attackAnswer(folder: RunFolder, id: string, given: URLSearchParams) {
  const isShown = asksToShow(given);
  const found = /^\d{1,15}$/.test(id)
    ? await withPages(folder, undefined, (pages) => pages.attack(Number(id)))
    : undefined;
  if (found === undefined) throw new ApiError(404, 'there is no such attack here', { code: 'unknown_attack' });
  const labels = readLabels(folder.labelsPath);
  const { text } = found.attack;
  const way = await wayOf(folder, labels, text);
  return {
    ...rowAnswer(found.attack, labels, isShown),
    way: way === null ? null : { ...way, cause: textAnswer(way.cause, isShown) },
    responses: found.responses.map((response) => responseAnswer(text, response, { labels, isShown })),
  };
}
