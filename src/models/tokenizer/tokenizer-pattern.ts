import { FloodgateError } from '../../base/errors.ts';
import { isKnownPattern } from './known-patterns.ts';
import { runPatterns } from './tokenizer-growth.ts';
import type { PatternConfig, SplitBehavior } from './tokenizer-json.ts';
import { SplitPreTokenizer } from './tokenizer-model.ts';

/** `?`, `*`, `+`, `{2}`, `{1,3}` or `{1,}`, with a lazy or possessive mark behind it. */
const QUANTIFIER = /^(?:[?*+]|\{(\d*)(,?)(\d*)\})[?+]?/;
/**
 * Most choices (optional or repeated parts) in one sequence. Each multiplies the ways to match: `a*a*a*a*a*b` takes the
 * fifth power of the text's length. Real tokenizers have at most four.
 */
const MAX_CHOICES = 6;
/** Most unbounded choices among them. */
const MAX_UNBOUNDED = 3;

/** Index after the character class that opens at `start`. A `]` right after the opening bracket is a literal. */
function skipClass(source: string, start: number): number {
  let depth = 0;
  for (let i = start; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === '[') depth++;
    else if (source[i] === ']' && --depth === 0) return i + 1;
  }
  return source.length;
}

/** Number of ways in which a sequence can match: its choices, the unbounded ones, and whether it has alternatives. */
interface Ways {
  choices: number;
  unbounded: number;
  isAlternative: boolean;
}

/** One open group: the present alternative, and the worst of those before it. */
interface OpenGroup {
  now: Ways;
  worst: Ways;
}

const noWays = (): Ways => ({ choices: 0, unbounded: 0, isAlternative: false });

function worseOf(a: Ways, b: Ways): Ways {
  return {
    choices: Math.max(a.choices, b.choices),
    unbounded: Math.max(a.unbounded, b.unbounded),
    isAlternative: a.isAlternative || b.isAlternative,
  };
}

/**
 * Adds an item (character, class or group) and its quantifier. Returns false when the two together may run for ever.
 */
function addItem(sequence: Ways, item: Ways, quantifier: RegExpExecArray | null): boolean {
  sequence.choices += item.choices;
  sequence.unbounded += item.unbounded;
  if (quantifier !== null) {
    const [text, least, comma, most] = quantifier;
    const isFixed = text.startsWith('{') && comma === '';
    const isOptional = text.startsWith('?') || text === '{0,1}';
    const isUnbounded = /^[*+]/.test(text) || (comma === ',' && (most === '' || Number(most) > MAX_REPEATS));
    const repeats = isUnbounded || Number(most || least || 0) > 1;
    if (!isOptional && repeats && (item.choices > 0 || item.isAlternative)) return false;
    if (!isFixed) sequence.choices++;
    if (isUnbounded) sequence.unbounded++;
  }
  return sequence.choices <= MAX_CHOICES && sequence.unbounded <= MAX_UNBOUNDED;
}

/** A bounded repetition above this costs as much as an unbounded one. */
const MAX_REPEATS = 16;

/**
 * Whether `source` plainly backtracks for ever on a text of moderate length. Two forms do. A repeated group that can
 * match in several ways is exponential: `(a+)+`, `(a|aa)*`. Many choices in a row cost a high power: `a*a*a*a*b`. No
 * known tokenizer has either form, and a file that has one is refused when it is loaded. Other hostile forms pass:
 * `runPatterns` stops them when they run.
 */
export function mayRunForever(source: string): boolean {
  const groups: OpenGroup[] = [{ now: noWays(), worst: noWays() }];
  for (let i = 0; i < source.length; ) {
    const group = groups.at(-1) as OpenGroup;
    const char = source[i];
    let item = noWays();
    if (char === '(') {
      groups.push({ now: noWays(), worst: noWays() });
      i += /^\((?:\?(?:[:=!]|<[=!]|[a-z-]+:|<\w+>))?/.exec(source.slice(i, i + 64))?.[0].length ?? 1;
      continue;
    }
    if (char === '|') {
      group.worst = { ...worseOf(group.worst, group.now), isAlternative: true };
      group.now = noWays();
      i++;
      continue;
    }
    if (char === ')' && groups.length > 1) {
      groups.pop();
      item = worseOf(group.worst, group.now);
      i++;
    } else if (char === '[') i = skipClass(source, i);
    else i += char === '\\' ? 2 : 1;
    const quantifier = QUANTIFIER.exec(source.slice(i, i + 24));
    i += quantifier?.[0].length ?? 0;
    if (!addItem((groups.at(-1) as OpenGroup).now, item, quantifier)) return true;
  }
  return false;
}

/**
 * Compiles a pattern of a tokenizer.json (Oniguruma's syntax) to a global regular expression. Whoever uses it on a text
 * does so within `runPatterns`, unless the pattern is known.
 * @throws `format`
 */
export function compilePattern(pattern: PatternConfig): RegExp {
  if ('Regex' in pattern && mayRunForever(pattern.Regex)) {
    throw new FloodgateError(
      'format',
      'tokenizer.json: a pattern repeats a repeated group or has too many choices in a row, which can run for ever',
    );
  }
  try {
    const compiled = new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: false }).pattern;
    if (compiled !== null) {
      if (!isKnownPattern(pattern)) runPatterns('pattern', 0, () => compiled.test('')); // the engine compiles here
      compiled.lastIndex = 0;
      return compiled;
    }
  } catch (cause) {
    throw new FloodgateError('format', 'tokenizer.json: a pattern is no regular expression we can read', { cause });
  }
  throw new FloodgateError('format', 'tokenizer.json: a pattern is neither a regular expression nor a string');
}

interface Span {
  start: number;
  end: number;
  isMatch: boolean;
}

/** Covers `text` with the matches of `pattern` and the gaps between them; `invert` swaps the two. */
function spansOf(text: string, pattern: RegExp, invert: boolean): Span[] {
  const spans: Span[] = [];
  let last = 0;
  for (const match of text.matchAll(pattern)) {
    const end = match.index + match[0].length;
    if (end === match.index) continue;
    if (match.index > last) spans.push({ start: last, end: match.index, isMatch: invert });
    spans.push({ start: match.index, end, isMatch: !invert });
    last = end;
  }
  if (last < text.length) spans.push({ start: last, end: text.length, isMatch: invert });
  return spans;
}

/** Joins each run of spans for which `joins(previous, next)` holds. */
function joinSpans(spans: readonly Span[], joins: (previous: Span, next: Span) => boolean): Span[] {
  const joined: Span[] = [];
  let previous: Span | undefined;
  for (const span of spans) {
    const last = joined.at(-1);
    if (last !== undefined && previous !== undefined && joins(previous, span)) last.end = span.end;
    else joined.push({ ...span });
    previous = span;
  }
  return joined;
}

function arrange(spans: readonly Span[], behavior: SplitBehavior): readonly Span[] {
  switch (behavior) {
    case 'Isolated':
      return spans;
    case 'Removed':
      return spans.filter((span) => !span.isMatch);
    case 'Contiguous':
      return joinSpans(spans, (previous, next) => previous.isMatch === next.isMatch);
    case 'MergedWithPrevious':
      return joinSpans(spans, (previous, next) => next.isMatch && !previous.isMatch);
    case 'MergedWithNext':
      return joinSpans(spans, (previous, next) => previous.isMatch && !next.isMatch);
  }
}

export interface SplitRule {
  readonly pattern: RegExp;
  readonly behavior: SplitBehavior;
  readonly invert?: boolean;
}

/** Splits `text` at the matches of a global pattern; omits empty pieces. */
export function splitText(text: string, rule: SplitRule): string[] {
  const spans = spansOf(text, rule.pattern, rule.invert ?? false);
  return arrange(spans, rule.behavior).map((span) => text.slice(span.start, span.end));
}
