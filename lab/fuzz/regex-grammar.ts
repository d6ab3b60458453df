import type { RandomStream } from '../../src/base/random.ts';
import { pick } from './fuzz-target.ts';

/** One-letter atoms come often: only letters that several atoms share make a pattern backtrack. */
const ATOMS: readonly string[] = [
  'a',
  'a',
  'a',
  'b',
  '1',
  ' ',
  '.',
  '\\s',
  '\\S',
  '\\d',
  '\\w',
  '\\W',
  '\\p{L}',
  '\\p{N}',
  '\\P{L}',
  '\\p{Han}',
  '[a-c]',
  '[^a]',
  '[^\\s\\p{L}]',
  '[a-z&&[^b]]',
  '[[:alpha:]]',
  '[^[:space:]]',
  '\\u{61}',
  '\\x{61}',
  '\\x61',
  '\\u0061',
  '\\n',
  '\\h',
  '\\R',
  '\\X',
  '\\K',
  '\\Q*\\E',
  '日',
  '😀',
  "'s",
];

const ANCHORS: readonly string[] = ['^', '$', '\\b', '\\B', '\\A', '\\z', '\\Z', '\\G', '(?i)', '\\1', '\\k<n>'];

const OPENINGS: readonly string[] = [
  '(',
  '(?:',
  '(?:',
  '(?:',
  '(?=',
  '(?!',
  '(?<=',
  '(?<!',
  '(?>',
  '(?<n>',
  '(?i:',
  '(?x:',
  '(?~',
];

const QUANTIFIERS: readonly string[] = [
  '',
  '',
  '',
  '*',
  '+',
  '?',
  '*?',
  '+?',
  '??',
  '*+',
  '++',
  '?+',
  '{2}',
  '{1,3}',
  '{0,40}',
  '{,3}',
  '{2,}',
  '{1,3}?',
  '{2}+',
  '{61}',
  '{1000}',
  '{2147483648}',
  '{3,1}',
  '{x}',
];

/** Patterns on which backtracking is known to be worst, and some that no engine takes. */
const KNOWN_BAD: readonly string[] = [
  '(a+)+$',
  '(\\u{61}+)+$',
  '(\\x{61}+)+$',
  `${'(?:a|a)'.repeat(22)}c`,
  'a*a*a*c',
  '(?:a{1,9}){1,40}b',
  '(?=(a*)*b)',
  '(?<n>a)\\k<n>*$',
  '((((((((((a+)+)+)+)+)+)+)+)+)+)+$',
  '(',
  '[',
  '\\',
  '\\p{Nonsense}',
  '(?#',
];

function item(stream: RandomStream, depth: number): string {
  const kind = stream.nextInt(8);
  if (kind === 0) return pick(stream, ANCHORS);
  const inner =
    kind < 4 && depth > 0 ? `${pick(stream, OPENINGS)}${alternatives(stream, depth - 1)})` : pick(stream, ATOMS);
  return inner + pick(stream, QUANTIFIERS);
}

function alternatives(stream: RandomStream, depth: number): string {
  const sequences = Array.from({ length: 1 + stream.nextInt(3) }, () =>
    Array.from({ length: stream.nextInt(4) }, () => item(stream, depth)).join(''),
  );
  return sequences.join('|');
}

/** A regular expression in Oniguruma's syntax, as a tokenizer.json holds it; now and then one that is known to be bad. */
export function anyPattern(stream: RandomStream): string {
  const kind = stream.nextInt(60);
  if (kind === 0) return pick(stream, KNOWN_BAD);
  if (kind === 1) return pick(stream, ['(?:', 'a|', 'a*', '[^']).repeat(1 + stream.nextInt(900));
  const pattern = alternatives(stream, 3) || 'a';
  // A pattern that lost a character may close, escape or repeat something else.
  if (kind > 6) return pattern;
  const at = stream.nextInt(pattern.length);
  return pattern.slice(0, at) + pattern.slice(at + 1) || ')';
}

const PIECES: readonly string[] = [
  'a',
  'a',
  'a',
  'aa',
  'ab',
  'b',
  ' ',
  '1',
  '12',
  "'s",
  '\n',
  '\r\n',
  '日本',
  '😀',
  'é',
  '\u0000',
  '\ud800',
];

/** A text for patterns. One in 150 is long enough for a pattern that backtracks to run into its limit. */
export function anyText(stream: RandomStream): string {
  const kind = stream.nextInt(150);
  if (kind === 0) return `${'a'.repeat(30 + stream.nextInt(1_000))}${pick(stream, PIECES)}`;
  return Array.from({ length: stream.nextInt(14) }, () => pick(stream, PIECES)).join('');
}
