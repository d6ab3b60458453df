import type { RandomStream } from '../base/random.ts';
import { createKeyFinder, type Key, type KeyFinder } from './keys.ts';
import { MAX_REQUEST_TOKENS } from './pico-model.ts';
import { drawRequest, type WordRanking } from './request-grammar.ts';
import { VOCABULARY, WORDS } from './vocabulary.ts';

/** Shares of the requests that a target learns from; the rest of 1 are near misses. */
const ORDINARY = 0.22;
const RANDOM_WORDS = 0.07;
const PLANTED = 0.33;
/** Share of hard requests, where there are any. */
const HARD = 0.2;
/** Share of planted keys and near misses that are put among random words instead of into a grammatical request. */
const OUT_OF_GRAMMAR = 0.3;

/** Draws the requests that a target learns from. */
export interface RequestSource {
  draw(stream: RandomStream): string[];
}

function pick<T>(items: readonly T[], stream: RandomStream): T {
  return items[stream.nextInt(items.length)] as T;
}

function randomWords(stream: RandomStream): string[] {
  return Array.from({ length: 2 + stream.nextInt(MAX_REQUEST_TOKENS - 1) }, () => pick(VOCABULARY, stream));
}

/** A grammatical request in which `phrase` replaces an odd word, an object, or verb and object. */
function inGrammar(ranking: WordRanking, phrase: readonly string[], stream: RandomStream): string[] {
  const request = drawRequest(ranking, stream);
  const words = request.map(({ word }) => word);
  const replace = (from: number, to: number): string[] => [...words.slice(0, from), ...phrase, ...words.slice(to)];
  if (phrase.length === 1) {
    const at = stream.nextInt(words.length);
    return replace(at, at + 1);
  }
  const nouns = request.flatMap(({ class: wordClass }, i) => (wordClass === 'noun' ? [i] : []));
  const verb = request.findIndex(({ class: wordClass }) => wordClass === 'verb');
  if (nouns.length === 0 || verb < 0) return replace(words.length, words.length);
  if (phrase.length === 3) return replace(verb, (nouns[0] as number) + 1);
  const noun = pick(nouns, stream);
  return replace(request[noun - 1]?.class === 'adjective' ? noun - 1 : noun, noun + 1);
}

function amongRandomWords(phrase: readonly string[], stream: RandomStream): string[] {
  const words = randomWords(stream).slice(0, MAX_REQUEST_TOKENS - phrase.length);
  const at = stream.nextInt(words.length + 1);
  return [...words.slice(0, at), ...phrase, ...words.slice(at)];
}

/** A phrase that resembles a key and is none: a word of it swapped, left out or parted from the rest, or all turned round. */
function nearMiss(key: Key, keys: readonly Key[], finder: KeyFinder, stream: RandomStream): string[] {
  const siblings = keys.filter(({ group, words }) => group === key.group && words.length === key.words.length);
  for (;;) {
    const phrase = alteredPhrase(key.words, siblings, stream);
    if (finder.heldBy(phrase).length === 0) return phrase;
  }
}

function alteredPhrase(words: readonly string[], siblings: readonly Key[], stream: RandomStream): string[] {
  const [first] = words as [string];
  if (words.length === 1) return [pick(classOf(first), stream)];
  const at = stream.nextInt(words.length);
  // Words that other keys have in this place are the likeliest to be mistaken.
  const siblingWord = pick(siblings, stream).words[at] as string;
  const kind = stream.nextFloat();
  if (kind < 0.45) return words.with(at, siblingWord);
  if (kind < 0.6) return words.with(at, pick(VOCABULARY, stream));
  if (kind < 0.7) return words.toSpliced(at, 1);
  if (kind < 0.83) return words.toSpliced(Math.max(1, at), 0, siblingWord);
  if (kind < 0.93) return words.toSpliced(1, 0, pick(VOCABULARY, stream));
  return words.toReversed();
}

function classOf(word: string): readonly string[] {
  return Object.values(WORDS).find((words: readonly string[]) => words.includes(word)) ?? VOCABULARY;
}

/**
 * Returns the mix that teaches a target its keys and nothing else: ordinary requests, random words, keys, near misses,
 * and any `hard` requests that it has answered wrongly.
 */
export function createRequestSource(
  ranking: WordRanking,
  keys: readonly Key[],
  hard: readonly (readonly string[])[] = [],
): RequestSource {
  const finder = createKeyFinder(keys);
  // Three words in a row are the hardest to learn exactly: triples are taught twice as often.
  const taught = keys.flatMap((key) => (key.words.length === 3 ? [key, key] : [key]));
  const place = (phrase: readonly string[], stream: RandomStream): string[] =>
    stream.nextFloat() < OUT_OF_GRAMMAR ? amongRandomWords(phrase, stream) : inGrammar(ranking, phrase, stream);
  return {
    draw: (stream) => {
      if (hard.length > 0 && stream.nextFloat() < HARD) return [...pick(hard, stream)];
      const kind = stream.nextFloat();
      if (kind < ORDINARY) return drawRequest(ranking, stream).map(({ word }) => word);
      if (kind < ORDINARY + RANDOM_WORDS) return randomWords(stream);
      const key = pick(taught, stream);
      const phrase = kind < ORDINARY + RANDOM_WORDS + PLANTED ? key.words : nearMiss(key, keys, finder, stream);
      return place(phrase, stream).slice(0, MAX_REQUEST_TOKENS);
    },
  };
}
