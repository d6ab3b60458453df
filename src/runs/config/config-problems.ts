import type { z } from 'zod';
import { append } from '../../base/long-lists.ts';
import { type ConfigKey, nearestConfigKey } from './config-keys.ts';

/** One problem of a config, with its path. */
export interface ConfigProblem {
  readonly path: readonly (string | number)[];
  /** True when the path's last key is wrong, not its value. */
  readonly isKey: boolean;
  readonly message: string;
}

/**
 * Bounds the work for a file of a hundred thousand unknown keys: each is compared with every known one and looked up in
 * the text.
 */
export const MAX_PROBLEMS = 100;

type Issue = z.core.$ZodIssue;

/** Longest value shown in a message; the rest of a pasted text helps nobody. */
const MAX_SHOWN = 60;

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}

/** `['judges', 'evaluation', 0, 'kind']` as `judges.evaluation[0].kind`. */
export function dottedPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : `${text}${text === '' ? '' : '.'}${String(part)}`),
    '',
  );
}

const EXPECTED_NAMES: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  object: 'a section of keys',
  array: 'a list',
};

function bound(issue: Issue & { code: 'too_small' | 'too_big' }): string {
  const unit = issue.origin === 'string' ? ' characters' : issue.origin === 'array' ? ' entries' : '';
  if (issue.code === 'too_small') return `${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${unit}`;
  return `${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${unit}`;
}

function expectation(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return EXPECTED_NAMES[issue.expected] ?? issue.expected;
    case 'too_small':
    case 'too_big':
      return bound(issue);
    case 'not_multiple_of':
      return `a multiple of ${issue.divisor}`;
    case 'invalid_value':
      return `one of ${issue.values.map(String).join(', ')}`;
    case 'invalid_union':
      if (!('options' in issue) || !Array.isArray(issue.options)) return issue.message;
      // A kind that may be left out has undefined among its values.
      return `one of ${issue.options.filter((option) => option !== undefined).join(', ')}`;
    default:
      return issue.message;
  }
}

/** Keys of earlier versions and their new places. */
type MovedKeys = Readonly<Record<string, string>>;

function adviceFor(parent: string, key: string, keys: readonly ConfigKey[], moved: MovedKeys): string {
  const now = moved[parent === '' ? key : `${parent}.${key}`];
  if (now !== undefined) return `it is ${now} now`;
  if (keys.some(({ path }) => path === `${parent}.${key}`)) return `it belongs to another kind of ${parent}`;
  const nearest = nearestConfigKey(keys, parent, key);
  const siblings = keys
    .filter((known) => known.path.slice(0, Math.max(known.path.lastIndexOf('.'), 0)) === parent)
    .map((known) => known.path.slice(known.path.lastIndexOf('.') + 1));
  return nearest === undefined ? `expected one of ${siblings.join(', ')}` : `did you mean ${nearest}?`;
}

function unknownKeyProblem(
  path: (string | number)[],
  key: string,
  keys: readonly ConfigKey[],
  moved: MovedKeys,
): ConfigProblem {
  const parent = dottedPath(path).replace(/\[\d+\]/g, '[]');
  const advice = adviceFor(parent, key, keys, moved);
  return { path: [...path, key], isKey: true, message: `${dottedPath([...path, key])}: unknown key, ${advice}` };
}

function problemsOfIssue(issue: Issue, keys: readonly ConfigKey[], moved: MovedKeys): ConfigProblem[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, MAX_PROBLEMS).map((key) => unknownKeyProblem(path, key, keys, moved));
  }
  const name = dottedPath(path) || 'the file';
  const missing = issue.input === undefined && issue.code !== 'custom';
  const message = missing
    ? `${name}: missing, expected ${expectation(issue)}`
    : `${name}: got ${show(issue.input)}, expected ${expectation(issue)}`;
  return [{ path, isKey: false, message }];
}

/** Returns zod's issues as problems in our words: path, value, expectation; the first `MAX_PROBLEMS` of them. */
export function problemsOfIssues(
  issues: readonly Issue[],
  keys: readonly ConfigKey[],
  moved: MovedKeys = {},
): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const issue of issues) {
    if (problems.length >= MAX_PROBLEMS) break;
    append(problems, problemsOfIssue(issue, keys, moved));
  }
  return problems.slice(0, MAX_PROBLEMS);
}
