import { FloodgateError } from '../../base/errors.ts';
import type { AddedToken } from './tokenizer-json.ts';

interface TrieNode<T> {
  readonly children: Map<number, TrieNode<T>>;
  value: T | undefined;
}

/** Hundreds of megabytes of long added tokens. The largest real tokenizers have some 10,000 tokens of 20 characters. */
const MAX_TRIE_NODES = 1_000_000;

/** Values by text, found at any place of a longer text in one walk of at most the longest key. */
export class TextTrie<T> {
  readonly #root: TrieNode<T> = { children: new Map(), value: undefined };
  #nodes = 0;

  /** Adds a key; ignores an empty one. @throws `format` when all keys together are too long */
  set(key: string, value: T): void {
    let node = this.#root;
    for (let i = 0; i < key.length; i++) {
      const unit = key.charCodeAt(i);
      let child = node.children.get(unit);
      if (child === undefined) {
        if (++this.#nodes > MAX_TRIE_NODES) {
          throw new FloodgateError(
            'format',
            `tokenizer: the added tokens are too long together, expected at most ${MAX_TRIE_NODES} characters`,
          );
        }
        child = { children: new Map(), value: undefined };
        node.children.set(unit, child);
      }
      node = child;
    }
    if (node !== this.#root) node.value = value;
  }

  /** Returns the value of the longest key at `start` of `text`, and where it ends. */
  longestAt(text: string, start: number): { readonly value: T; readonly end: number } | undefined {
    let node: TrieNode<T> | undefined = this.#root;
    let longest: { readonly value: T; readonly end: number } | undefined;
    for (let i = start; i < text.length; i++) {
      node = node.children.get(text.charCodeAt(i));
      if (node === undefined) break;
      if (node.value !== undefined) longest = { value: node.value, end: i + 1 };
    }
    return longest;
  }

  /** Whether a key begins at `start` of `text`: a whole one, or one that runs on at `end` of the text. */
  beginsAt(text: string, start: number, end: number): boolean {
    let node: TrieNode<T> | undefined = this.#root;
    for (let i = start; i < text.length; i++) {
      node = node.children.get(text.charCodeAt(i));
      if (node === undefined) return false;
      if (node.value !== undefined || i + 1 === end) return true;
    }
    return false;
  }
}

const WORD_CHARACTER = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;
const WHITE_SPACE = /\p{White_Space}/u;

interface Match {
  readonly value: AddedToken;
  readonly end: number;
}

/** Whether the match is a word of its own, for tokens that require it. */
function isAllowed(match: Match, text: string, start: number): boolean {
  if (!match.value.single_word) return true;
  const before = Array.from(text.slice(Math.max(0, start - 2), start)).at(-1) ?? ' ';
  const after = Array.from(text.slice(match.end, match.end + 2))[0] ?? ' ';
  return !WORD_CHARACTER.test(before) && !WORD_CHARACTER.test(after);
}

export type SplitAtTokens = (text: string) => (string | number)[];

/**
 * Returns the function that splits a text at the leftmost, longest occurrences of `tokens`. It returns their ids and
 * the texts between them, in order; no text is empty. White space beside a token that strips it belongs to the token.
 */
export function createSplitAtTokens(
  tokens: readonly AddedToken[],
  contentOf: (token: AddedToken) => string = (token) => token.content,
): SplitAtTokens {
  if (tokens.length === 0) return (text) => (text === '' ? [] : [text]);
  const trie = new TextTrie<AddedToken>();
  for (const token of tokens) trie.set(contentOf(token), token);
  return (text) => {
    const parts: (string | number)[] = [];
    let last = 0;
    for (let i = 0; i < text.length; ) {
      const match = trie.longestAt(text, i);
      if (match === undefined || !isAllowed(match, text, i)) {
        i++;
        continue;
      }
      let [start, end] = [i, match.end];
      if (match.value.lstrip) while (start > last && WHITE_SPACE.test(text.charAt(start - 1))) start--;
      if (match.value.rstrip) while (end < text.length && WHITE_SPACE.test(text.charAt(end))) end++;
      if (start > last) parts.push(text.slice(last, start));
      parts.push(match.value.id);
      last = end;
      i = end;
    }
    if (last < text.length) parts.push(text.slice(last));
    return parts;
  };
}
