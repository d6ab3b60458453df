import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { maxOf } from '../base/long-lists.ts';
import { createBatchedJudge, defineJudgeKind, type Judge, toVerdict } from './judge.ts';
import { judgedHead, normalisedWords, termHashHex } from './judged-words.ts';

/** An unreadable term: the hash of its normalised words joined by one space, and their number. */
export interface HashedTerm {
  readonly hash: string;
  readonly words: number;
}

/** Terms of one weight. */
export interface LexiconRule {
  /** Words or phrases. `*` at the end of a word matches any ending; alone it matches any one word. */
  readonly terms: readonly string[];
  readonly hashedTerms: readonly HashedTerm[];
  /** P(unsafe) of a response that holds one of the terms, however often. */
  readonly weight: number;
}

export interface LexiconOptions {
  readonly name: string;
  readonly rules: readonly LexiconRule[];
  /** `max`: the largest weight found. `noisy-or`: 1 - product of (1 - weight) over the rules found. */
  readonly combine: 'max' | 'noisy-or';
}

/** Most rules or terms of one list: a person writes the config. */
const MAX_LIST = 10_000;

interface WordPattern {
  readonly text: string;
  readonly isPrefix: boolean;
}

interface CompiledRule {
  readonly phrases: readonly (readonly WordPattern[])[];
  /** Hashes by number of words. */
  readonly hashes: ReadonlyMap<number, ReadonlySet<string>>;
  readonly weight: number;
}

/**
 * The hashed form of a term, for a lexicon that should not show its words.
 * @throws FloodgateError `config` for a term with a wildcard or without a word.
 */
export function hashLexiconTerm(term: string): HashedTerm {
  const words = normalisedWords(term);
  if (words.length === 0 || term.includes('*')) {
    throw new FloodgateError('config', `hash lexicon term: got ${JSON.stringify(term)}, expected words without *`);
  }
  return { hash: termHashHex(words.join(' ')), words: words.length };
}

/**
 * A judge by fixed rules: whole words and phrases of the response, in lower case without accents. A response without
 * any of them scores 0.
 * @throws FloodgateError `config` for a term without a word.
 */
export function createLexiconJudge(options: LexiconOptions): Judge {
  const rules = options.rules.map(compileRule);
  const { name } = options;
  return createBatchedJudge({
    name,
    scoreBatch: async (batch) =>
      batch.map(({ response }) => {
        const words = normalisedWords(judgedHead(response));
        const weights = rules.filter((rule) => isRuleFound(rule, words)).map(({ weight }) => weight);
        return toVerdict(combineWeights(weights, options.combine), name);
      }),
  });
}

const term = z.string().min(1).max(200);

const hashedTerm = z.strictObject({
  hash: z.string().regex(/^[0-9a-f]{16}$/, 'must be 16 hexadecimal digits'),
  words: z.number().int().min(1).max(8),
});

const rule = z.strictObject({
  terms: z
    .array(term)
    .max(MAX_LIST)
    .default([])
    .describe('whole words or phrases; word* = any ending, * = any one word'),
  hashedTerms: z
    .array(hashedTerm)
    .max(MAX_LIST)
    .default([])
    .describe('terms as FNV-1a 64 hashes, to keep the list unreadable'),
  weight: z.number().gt(0).max(1).default(1).describe('P(unsafe) when the response holds one of the terms'),
});

export const lexicon = defineJudgeKind({
  name: 'lexicon',
  describe: 'fixed words and phrases of the response',
  fields: {
    name: z.string().trim().min(1).max(100).default('lexicon'),
    combine: z.enum(['max', 'noisy-or']).default('max').describe('how the weights of several rules combine'),
    rules: z.array(rule).min(1).max(MAX_LIST),
  },
  nameOf: ({ name }) => name,
  open: async (config) => createLexiconJudge(config),
});

function combineWeights(weights: readonly number[], combine: LexiconOptions['combine']): number {
  if (combine === 'max') return maxOf([0, ...weights]);
  return 1 - weights.reduce((product, weight) => product * (1 - weight), 1);
}

function compileRule(rule: LexiconRule): CompiledRule {
  const hashes = new Map<number, Set<string>>();
  for (const { hash, words } of rule.hashedTerms) {
    hashes.set(words, (hashes.get(words) ?? new Set()).add(hash));
  }
  return { phrases: rule.terms.map(parseTerm), hashes, weight: rule.weight };
}

function parseTerm(term: string): WordPattern[] {
  const patterns: WordPattern[] = [];
  for (const part of term.split(/\s+/)) {
    const isPrefix = part.endsWith('*');
    const words = normalisedWords(part);
    if (part === '*') patterns.push({ text: '', isPrefix });
    for (const [i, text] of words.entries()) patterns.push({ text, isPrefix: isPrefix && i === words.length - 1 });
  }
  if (!patterns.some(({ text }) => text !== '')) {
    throw new FloodgateError('config', `lexicon: the term ${JSON.stringify(term)} holds no word`);
  }
  return patterns;
}

function isRuleFound(rule: CompiledRule, words: readonly string[]): boolean {
  return (
    rule.phrases.some((phrase) => words.some((_, start) => isPhraseAt(phrase, words, start))) ||
    [...rule.hashes].some(([count, hashes]) =>
      words.some((_, start) => start + count <= words.length && hashes.has(hashAt(words, start, count))),
    )
  );
}

function isPhraseAt(phrase: readonly WordPattern[], words: readonly string[], start: number): boolean {
  return phrase.every(({ text, isPrefix }, i) => {
    const word = words[start + i];
    return word !== undefined && (isPrefix ? word.startsWith(text) : word === text);
  });
}

function hashAt(words: readonly string[], start: number, count: number): string {
  return termHashHex(words.slice(start, start + count).join(' '));
}
