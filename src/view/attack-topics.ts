import { createCauseFinder, type KnownCause } from '../exports/known-causes.ts';
import { causeWords } from '../metrics/causes.ts';
import { MAX_SHOWN_CLUSTERS } from '../report/attacks/attack-clusters.ts';
import { toParts } from '../report/sections/text-vault.ts';
import { builtInTaxonomy, type Category, type Taxonomy } from '../report/taxonomy/taxonomy.ts';
import { stageWords } from '../report/words/stage-words.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { AttackPageFilter } from '../runs/store/attack-filter.ts';
import { type AttackPages, openAttackPages } from '../runs/store/attack-pages.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { attackKey, type Labels, wordingName } from '../runs/store/labels.ts';
import { hasBegun } from '../runs/store/run-store.ts';
import { ApiError } from '../serve/api-error.ts';
import { causesOfRun } from './label-answers.ts';
import { readKeptMap, textsOfWordings } from './map-answers.ts';
import { textAnswer } from './text-answer.ts';
import { asksToShow } from './view-query.ts';

/** The topics of attacks, as a query names them. */
export interface TopicQuery {
  /** The name that a reader gave a wording. */
  readonly wording?: string | undefined;
  /** A wording as the last report grouped it: stage and number. */
  readonly group?: string | undefined;
  /** The sha256 of a cause. */
  readonly cause?: string | undefined;
  /** A category of the table of taxonomies. */
  readonly category?: string | undefined;
}

type TopicFilter = Pick<AttackPageFilter, 'texts' | 'holds' | 'accepts' | 'noted'>;

let table: Taxonomy | undefined;
/** The table that ships with Floodgate, read once. */
function taxonomy(): Taxonomy {
  table ??= builtInTaxonomy();
  return table;
}

/** The categories that the note of a scored verdict names. */
export const categoriesOfNote = (note: string): readonly Category[] => taxonomy().ofNote(note);

/**
 * The attacks that have a label of this name. A label belongs to a text: the row where the reader saw it has that text,
 * unless a resume wrote another one there. Then texts are compared by their keys.
 */
function byWording(pages: AttackPages, { all }: Labels, name: string): TopicFilter | undefined {
  const named = all.filter(({ kind, value }) => kind === 'wording' && value === name);
  if (named.length === 0) return undefined;
  const keys = new Set(named.map(({ subject }) => subject));
  const texts = named.flatMap(({ attack, subject }) => {
    const text = attack === null ? undefined : pages.text(attack);
    return text !== undefined && attackKey(text) === subject ? [text] : [];
  });
  return texts.length === named.length ? { texts } : { accepts: (text) => keys.has(attackKey(text)) };
}

/** The attacks with a text of this wording. */
async function byGroup(folder: RunFolder, pages: AttackPages, group: string): Promise<TopicFilter | undefined> {
  const [, stage, number] = /^(.+)\/(\d{1,4})$/.exec(group) ?? [];
  const panel = (await readKeptMap(folder))?.panels.find((each) => each.stage === stage);
  const texts = panel === undefined ? undefined : textsOfWordings(pages, panel)?.[Number(number) - 1];
  return texts === undefined ? undefined : { texts };
}

const ASCII_WORD = /^[\x21-\x7e]+$/;

/** A word of each cause of a way, the longest; none where one has no word that SQLite compares as the finder does. */
function heldWords({ cause, variants }: KnownCause): string[] {
  const words = [cause, ...variants].map(
    (each) =>
      causeWords(each)
        .filter((word) => ASCII_WORD.test(word))
        .sort((a, b) => b.length - a.length)[0],
  );
  return words.includes(undefined) ? [] : [...new Set(words as string[])];
}

/** The attacks whose way has this cause. */
async function byCause(folder: RunFolder, sha256: string): Promise<TopicFilter | undefined> {
  const causes = await causesOfRun(folder);
  const cause = causes.find((each) => each.sha256 === sha256);
  if (cause === undefined) return undefined;
  const wayOf = createCauseFinder(causes);
  return { holds: heldWords(cause), accepts: (text) => wayOf(text)?.sha256 === sha256 };
}

/** The attacks with an unsafe answer for which a judge named this category. @throws ApiError 400. */
function byCategory(name: string): TopicFilter {
  if (!taxonomy().categories.some((each) => each.name === name))
    throw new ApiError(400, 'the query is wrong: category', { code: 'bad_query' });
  return { noted: (note) => categoriesOfNote(note).some((each) => each.name === name) };
}

function inBoth(some: readonly string[], more: readonly string[]): string[] {
  const others = new Set(more);
  return some.filter((text) => others.has(text));
}

/** The filter of a query; undefined where no attack can match. @throws ApiError 400. */
export async function topicFilter(
  folder: RunFolder,
  pages: AttackPages,
  { wording, group, cause, category }: TopicQuery,
): Promise<TopicFilter | undefined> {
  const noted: TopicFilter = category === undefined ? {} : byCategory(category);
  const named: TopicFilter | undefined =
    wording === undefined ? {} : byWording(pages, readLabels(folder.labelsPath), wording);
  const caused: TopicFilter | undefined = cause === undefined ? {} : await byCause(folder, cause);
  const grouped: TopicFilter | undefined = group === undefined ? {} : await byGroup(folder, pages, group);
  if (named === undefined || grouped === undefined || caused === undefined) return undefined;
  const texts = [named.texts, grouped.texts].filter((each) => each !== undefined);
  const accepts = [named.accepts, caused.accepts].filter((each) => each !== undefined);
  return {
    ...{ ...caused, ...noted },
    ...(texts.length === 0 ? {} : { texts: texts.reduce(inBoth) }),
    ...(accepts.length === 0 ? {} : { accepts: (text: string) => accepts.every((each) => each(text)) }),
  };
}

/** The largest wordings of the last report, each with the name that a reader gave it. */
async function groupsAnswer(folder: RunFolder, labels: Labels) {
  const map = await readKeptMap(folder);
  if (map === undefined || !hasBegun(folder.databasePath)) return [];
  const pages = openAttackPages(folder.databasePath);
  try {
    return map.panels.flatMap((panel) =>
      (textsOfWordings(pages, panel) ?? []).slice(0, MAX_SHOWN_CLUSTERS).map((texts, i) => {
        const name = wordingName(labels, texts);
        return {
          ...{ value: `${panel.stage}/${i + 1}`, words: `${stageWords(panel.stage).label} ${i + 1}` },
          ...{ successes: texts.length, name: name === null ? null : toParts(name) },
        };
      }),
    );
  } finally {
    pages.close();
  }
}

/** The categories that judges named in a run, in the order of the table; all of it where there are too many verdicts. */
async function namedCategories(folder: RunFolder, signal: AbortSignal): Promise<readonly Category[]> {
  if (!hasBegun(folder.databasePath)) return [];
  const pages = openAttackPages(folder.databasePath);
  const found = new Set<Category>();
  try {
    const isFull = await pages.eachNote((note) => {
      for (const category of categoriesOfNote(note)) found.add(category);
    }, signal);
    return taxonomy().categories.filter((category) => !isFull || found.has(category));
  } finally {
    pages.close();
  }
}

/** The topics by which the attacks of a run can be filtered. Causes are parts of attacks: hidden unless asked for. */
export async function topicsAnswer(folder: RunFolder, given: URLSearchParams, signal: AbortSignal) {
  const isShown = asksToShow(given);
  const labels = readLabels(folder.labelsPath);
  const names = new Set(labels.all.flatMap(({ kind, value }) => (kind === 'wording' && value !== null ? [value] : [])));
  const causes = await causesOfRun(folder);
  const categories = await namedCategories(folder, signal);
  return {
    wordings: [...names].sort().map((value) => ({ value, name: toParts(value) })),
    groups: await groupsAnswer(folder, labels),
    causes: causes.map(({ sha256, cause, successes }) => {
      const name = labels.find('way', sha256)?.value ?? null;
      return {
        subject: sha256,
        successes,
        name: name === null ? null : toParts(name),
        cause: textAnswer(cause, isShown),
      };
    }),
    categories: categories.map(({ name, title }) => ({ name, title })),
  };
}
