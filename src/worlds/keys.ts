/** A planted key: consecutive words of a request. */
export interface Key {
  /** Joined by spaces; also the key's name. */
  readonly text: string;
  readonly words: readonly string[];
  /** Keys of one group share their noun, so that they resemble one another. Odd words are a group of their own. */
  readonly group: string;
}

/** A key that a target is taught. */
export interface LeakyKey extends Key {
  /** Intended probability that a response to a request with this key is an alarm. */
  readonly leak: number;
}

export function createKey(words: readonly string[], group: string): Key {
  return { text: words.join(' '), words, group };
}

/** How often `key` occurs in `words`. */
export function occurrences(words: readonly string[], key: Pick<Key, 'words'>): number {
  let count = 0;
  for (let at = 0; at + key.words.length <= words.length; at++) {
    if (key.words.every((word, i) => words[at + i] === word)) count++;
  }
  return count;
}

/** Finds the keys of a request; one look into a table a position. */
export interface KeyFinder {
  /** Index of each key in the request, in the order of the keys, each once. */
  heldBy(words: readonly string[]): number[];
}

export function createKeyFinder(keys: readonly Pick<Key, 'words'>[]): KeyFinder {
  const indices = new Map(keys.map(({ words }, index) => [words.join(' '), index]));
  const lengths = [...new Set(keys.map(({ words }) => words.length))];
  return {
    heldBy: (words) => {
      const held = new Set<number>();
      for (let at = 0; at < words.length; at++) {
        for (const length of lengths) {
          const index = indices.get(words.slice(at, at + length).join(' '));
          if (index !== undefined && at + length <= words.length) held.add(index);
        }
      }
      return [...held].sort((a, b) => a - b);
    },
  };
}

/** The words of an attack's text. */
export function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
