import type { AddedToken } from './tokenizer-json.ts';

interface TrieNode {
  readonly children: Map<number, TrieNode>;
  token: AddedToken | undefined;
}

const WORD_CHARACTER = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;
const WHITE_SPACE = /\p{White_Space}/u;

function buildTrie(tokens: readonly AddedToken[], contentOf: (token: AddedToken) => string): TrieNode {
  const root: TrieNode = { children: new Map(), token: undefined };
  for (const token of tokens) {
    const content = contentOf(token);
    let node = root;
    for (let i = 0; i < content.length; i++) {
      const unit = content.charCodeAt(i);
      let child = node.children.get(unit);
      if (child === undefined) {
        child = { children: new Map(), token: undefined };
        node.children.set(unit, child);
      }
      node = child;
    }
    if (node !== root) node.token = token;
  }
  return root;
}

interface Match {
  readonly token: AddedToken;
  readonly end: number;
}

function longestMatchAt(root: TrieNode, text: string, start: number): Match | undefined {
  let node: TrieNode | undefined = root;
  let match: Match | undefined;
  for (let i = start; i < text.length; i++) {
    node = node.children.get(text.charCodeAt(i));
    if (node === undefined) break;
    if (node.token !== undefined) match = { token: node.token, end: i + 1 };
  }
  return match;
}

/** Whether the match is a word of its own, for tokens that require it. */
function isAllowed(match: Match, text: string, start: number): boolean {
  if (!match.token.single_word) return true;
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
  const root = buildTrie(tokens, contentOf);
  return (text) => {
    const parts: (string | number)[] = [];
    let last = 0;
    for (let i = 0; i < text.length; ) {
      const match = longestMatchAt(root, text, i);
      if (match === undefined || !isAllowed(match, text, i)) {
        i++;
        continue;
      }
      let [start, end] = [i, match.end];
      if (match.token.lstrip) while (start > last && WHITE_SPACE.test(text.charAt(start - 1))) start--;
      if (match.token.rstrip) while (end < text.length && WHITE_SPACE.test(text.charAt(end))) end++;
      if (start > last) parts.push(text.slice(last, start));
      parts.push(match.token.id);
      last = end;
      i = end;
    }
    if (last < text.length) parts.push(text.slice(last));
    return parts;
  };
}
