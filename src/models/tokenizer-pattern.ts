import { FloodgateError } from '../base/errors.ts';
import type { PatternConfig, SplitBehavior } from './tokenizer-json.ts';
import { SplitPreTokenizer } from './tokenizer-library.ts';

const UNBOUNDED = /^(?:[*+]|\{\d*,\})/;

/** Index after the character class that opens at `start`; a `]` right after the opening bracket is a literal. */
function skipClass(source: string, start: number): number {
  let depth = 0;
  for (let i = start; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === '[') depth++;
    else if (source[i] === ']' && --depth === 0) return i + 1;
  }
  return source.length;
}

/**
 * Whether a repeated group of `source` itself repeats without bound inside, as `(a+)+` does: the form that backtracks
 * exponentially. No known tokenizer has it. Patterns of polynomial cost are not found by this; the length limit on
 * texts bounds them.
 */
export function hasNestedRepeat(source: string): boolean {
  const groups: boolean[] = [false];
  let i = 0;
  while (i < source.length) {
    const char = source[i];
    if (char === '[') {
      i = skipClass(source, i);
    } else if (char === '\\') {
      i += 2;
    } else if (char === '(') {
      groups.push(false);
      i++;
    } else if (char === ')') {
      const repeats = groups.length > 1 && groups.pop() === true;
      i++;
      const isRepeated = UNBOUNDED.test(source.slice(i, i + 12));
      if (repeats && isRepeated) return true;
      if (repeats || isRepeated) groups[groups.length - 1] = true;
    } else {
      if (UNBOUNDED.test(source.slice(i, i + 12))) groups[groups.length - 1] = true;
      i++;
    }
  }
  return false;
}

/** Returns the global regular expression of a pattern in a tokenizer.json (Oniguruma's syntax). @throws `format` */
export function compilePattern(pattern: PatternConfig): RegExp {
  if ('Regex' in pattern && hasNestedRepeat(pattern.Regex)) {
    throw new FloodgateError('format', 'tokenizer.json: a pattern repeats a repeated group, which can run for ever');
  }
  try {
    const compiled = new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: false }).pattern;
    if (compiled !== null) return compiled;
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

/** The whole of `text` as matches of `pattern` and the gaps between them; `invert` swaps the two. */
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

/** Returns the pieces of `text` at the matches of a global pattern; empty pieces are left out. */
export function splitText(text: string, rule: SplitRule): string[] {
  const spans = spansOf(text, rule.pattern, rule.invert ?? false);
  return arrange(spans, rule.behavior).map((span) => text.slice(span.start, span.end));
}
