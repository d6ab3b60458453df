import type { Comparison } from '../report/compare/compare-runs.ts';
import { type ComparedWay, WAY_STATES } from '../report/compare/compared-ways.ts';
import { figureRows, STATE_WORDS, sharedWords } from '../report/compare/comparison-words.ts';
import { toParts } from '../report/sections/text-vault.ts';
import { counted } from '../report/words/number-words.ts';
import { stageWords } from '../report/words/stage-words.ts';
import { ApiError } from '../serve/api-error.ts';
import type { CompareJobs, CompareProgress } from './compare-jobs.ts';
import { textAnswer } from './text-answer.ts';
import type { ViewedRuns } from './viewed-runs.ts';

/** Each run is read whole: a longer list would take long. */
const MAX_RUNS = 8;
/** Ways of one state in an answer; the count beside them says how many there are. */
const MAX_WAYS = 100;
/** Characters of a setting: a config may hold a whole prompt. */
const MAX_SETTING = 400;

interface CompareQuery {
  readonly keys: readonly string[];
  readonly isShown: boolean;
  /** Of an answer that the page has: its texts are asked for. */
  readonly version: string | undefined;
}

const QUERY_KEYS = ['run', 'show', 'version'];

/** @throws ApiError 400 for an unknown key, too few runs or too many. */
function parseCompareQuery(given: URLSearchParams): CompareQuery {
  const keys = given.getAll('run');
  const show = given.getAll('show').filter((value) => value !== '');
  const [version] = given.getAll('version');
  const wrong = [...given.keys()].find((key) => !QUERY_KEYS.includes(key));
  if (wrong === undefined && keys.length >= 2 && keys.length <= MAX_RUNS && show.every((value) => value === '1'))
    return { keys, isShown: show.length > 0, version };
  const message = `the query is wrong: ${counted(keys.length, 'run')}, expected 2 to ${MAX_RUNS}`;
  throw new ApiError(400, wrong === undefined ? message : 'the query is wrong: a key', { code: 'bad_query' });
}

function wayAnswer({ cause, example, runs }: ComparedWay, isShown: boolean) {
  return { cause: textAnswer(cause, isShown), example: textAnswer(example, isShown), runs };
}

function statesAnswer({ ways }: Comparison, isShown: boolean) {
  return WAY_STATES.flatMap((state) => {
    const those = ways.filter((way) => way.state === state);
    if (those.length === 0) return [];
    const shown = those.slice(0, MAX_WAYS).map((way) => wayAnswer(way, isShown));
    return [{ state, words: STATE_WORDS[state], count: those.length, ways: shown }];
  });
}

function settingAnswer(value: string | undefined) {
  if (value === undefined) return null;
  const characters = [...value];
  return toParts(characters.length > MAX_SETTING ? `${characters.slice(0, MAX_SETTING).join('')}…` : value);
}

/** The present step of a comparison, in words. */
function stepWords(step: (CompareProgress & { kind: 'working' })['step']): string {
  if (step === 'waiting') return 'Waiting for another comparison.';
  if (step === 'begun') return 'Beginning to compare.';
  if (step.kind === 'read') return `Reading ${step.run}, run ${step.place} of ${step.of}.`;
  return `Comparing ways: ${step.done} of ${step.of}.`;
}

/**
 * Runs side by side, the oldest first: the figures, differences, ways and settings of `floodgate compare`. Causes and
 * attacks are hidden unless the request asks for them. Until the comparison is done, the answer says how far it is.
 * @throws ApiError 400, 404; 409 for runs that cannot be compared, with the words that the command prints.
 */
export async function compareAnswer(runs: ViewedRuns, jobs: CompareJobs, given: URLSearchParams, signal: AbortSignal) {
  const { keys, isShown, version: wanted } = parseCompareQuery(given);
  const folders = [];
  for (const key of keys) folders.push(await runs.find(key));
  const progress = await jobs.ask(folders, signal, wanted);
  if (progress.kind === 'refused') throw new ApiError(409, progress.reason, { code: 'not_comparable' });
  if (progress.kind === 'working') return { isDone: false, progress: stepWords(progress.step) };
  const { comparison, version } = progress;
  return {
    ...{ isDone: true, version },
    runs: comparison.runs.map((run, i) => ({ key: keys[i], ...run })),
    warnings: comparison.warnings,
    figures: figureRows(comparison).map((row) => ({ ...row, label: stageWords(row.attacker).label })),
    shared: { words: sharedWords(comparison), counts: comparison.shared?.counts ?? null },
    wayCount: comparison.ways.length,
    states: statesAnswer(comparison, isShown),
    settings: comparison.settings.map(({ key, values }) => ({ key, values: values.map(settingAnswer) })),
  };
}
