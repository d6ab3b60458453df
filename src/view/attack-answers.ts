import { z } from 'zod';
import type { AttackSource } from '../learning/attack.ts';
import { isUnsafe } from '../learning/reward/reward.ts';
import { type TextParts, toParts } from '../report/sections/text-vault.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { type AttackPages, openAttackPages, type PagedAttack } from '../runs/store/attack-pages.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { answerKey, type Labels } from '../runs/store/labels.ts';
import type { StoredResponse } from '../runs/store/records.ts';
import { hasBegun } from '../runs/store/run-store.ts';
import { ApiError } from '../serve/api-error.ts';
import { answerLabel, attackLabels, wayOf } from './label-answers.ts';

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

/** A filter that was left empty is none. */
const filled = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional());

const count = (most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number)
    .pipe(z.number().max(most));

const query = z.strictObject({
  stage: filled(z.string().max(200)),
  source: filled(z.enum(ATTACK_SOURCES)),
  outcome: filled(z.enum(['success', 'failure', 'unscored'])),
  judge: filled(z.string().max(200)),
  search: filled(z.string().max(MAX_SEARCH)),
  before: filled(count(Number.MAX_SAFE_INTEGER)),
  limit: filled(count(MAX_PAGE)),
  show: filled(z.literal('1')),
});

const oneQuery = z.strictObject({ show: filled(z.literal('1')) });

/** @throws ApiError 400 for a key twice, an unknown key or a bad value. */
function parseQuery<T extends z.ZodType>(schema: T, given: URLSearchParams): z.infer<T> {
  const keys = [...given.keys()];
  const result = schema.safeParse(Object.fromEntries(given));
  if (result.success && new Set(keys).size === keys.length) return result.data;
  const name = String(result.error?.issues[0]?.path[0] ?? 'a key');
  throw new ApiError(400, `the query is wrong: ${name}`, { code: 'bad_query' });
}

/** A text as it leaves: its length always, itself only where the request asks to show it. */
export function textAnswer(
  text: string,
  isShown: boolean,
): { readonly characters: number; readonly parts?: TextParts } {
  return { characters: [...text].length, ...(isShown ? { parts: toParts(text) } : {}) };
}

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
        // By the labels of readers; null where they say nothing, or the judge did not.
        isWrong: truth === undefined || unsafe === null ? null : isUnsafe(unsafe) !== (truth === 'unsafe'),
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
  const { show, limit = DEFAULT_PAGE, ...filter } = parseQuery(query, given);
  const defined = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
  const none = { attacks: [], next: null, isFull: true };
  return withPages(folder, none, async (pages) => {
    const { attacks, ...rest } = await pages.page({ ...defined, limit: Math.max(1, limit), signal });
    const labels = readLabels(folder.labelsPath);
    return { attacks: attacks.map((row) => rowAnswer(row, labels, show === '1')), ...rest };
  });
}

/** One attack with its answers and their verdicts. @throws ApiError 404. */
export async function attackAnswer(folder: RunFolder, id: string, given: URLSearchParams) {
  const isShown = parseQuery(oneQuery, given).show === '1';
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
