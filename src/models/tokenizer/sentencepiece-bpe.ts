/** SentencePiece's BPE: the two neighbours whose union has the highest score are joined, until no union is a token. */
export interface ScoredBpeConfig {
  readonly type: 'ScoredBPE';
  /** Ids of all tokens. */
  readonly vocab: ReadonlyMap<string, number>;
  /** Scores of the tokens that text can become; controls and bytes have none. Higher joins earlier. */
  readonly scores: ReadonlyMap<string, number>;
  /** Ids of the 256 bytes, for characters that no token covers; undefined for a byte without a token. */
  readonly byteIds: readonly (number | undefined)[];
  /** For a byte without a token. */
  readonly unknownId: number | undefined;
}

/** Two neighbouring symbols that could be joined: where the left one starts, where the right one starts and ends. */
interface Join {
  readonly score: number;
  readonly start: number;
  readonly middle: number;
  readonly end: number;
}

/** Higher scores first; of equal ones the leftmost. */
function isBefore(a: Join, b: Join): boolean {
  return a.score > b.score || (a.score === b.score && a.start < b.start);
}

/** A binary heap with the next join on top. */
class JoinQueue {
  private readonly items: Join[] = [];

  push(join: Join): void {
    const { items } = this;
    let at = items.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(join, items[parent] as Join)) break;
      items[at] = items[parent] as Join;
      at = parent;
    }
    items[at] = join;
  }

  pop(): Join | undefined {
    const { items } = this;
    const [top, last] = [items[0], items.pop()];
    if (last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && isBefore(items[child + 1] as Join, items[child] as Join)) child++;
      if (!isBefore(items[child] as Join, last)) break;
      items[at] = items[child] as Join;
      at = child;
    }
    items[at] = last;
    return top;
  }
}

/** Cuts a nonempty text into symbols: the starts of all of them, in order. */
function symbolStarts(text: string, scores: ScoredBpeConfig['scores']): number[] {
  // A symbol is known by its start; these hold the starts of the symbols after and before it.
  const next = new Int32Array(text.length + 1);
  const previous = new Int32Array(text.length + 1).fill(-1);
  const queue = new JoinQueue();
  const offer = (start: number): void => {
    const middle = next[start] as number;
    if (middle >= text.length) return;
    const end = next[middle] as number;
    const score = scores.get(text.slice(start, end));
    if (score !== undefined) queue.push({ score, start, middle, end });
  };
  for (let start = 0; start < text.length; ) {
    const end = start + ((text.codePointAt(start) as number) > 0xffff ? 2 : 1);
    next[start] = end;
    previous[end] = start;
    start = end;
  }
  for (let start = 0; start < text.length; start = next[start] as number) offer(start);
  for (let join = queue.pop(); join !== undefined; join = queue.pop()) {
    const { start, middle, end } = join;
    if (next[start] !== middle || next[middle] !== end) continue; // one of the two was joined before
    next[start] = end;
    next[middle] = -1;
    previous[end] = start;
    offer(start);
    if (start > 0) offer(previous[start] as number);
  }
  const starts: number[] = [];
  for (let start = 0; start < text.length; start = next[start] as number) starts.push(start);
  return starts;
}

/** Returns the ids of a nonempty text. Neighbouring bytes without a token become one unknown token. */
export function encodeScored(text: string, config: ScoredBpeConfig): number[] {
  const { vocab, scores, byteIds, unknownId } = config;
  const starts = symbolStarts(text, scores);
  const ids: number[] = [];
  let isUnknown = false;
  for (const [i, start] of starts.entries()) {
    const symbol = text.slice(start, starts[i + 1]);
    const known = scores.has(symbol) ? [vocab.get(symbol)] : Array.from(Buffer.from(symbol), (byte) => byteIds[byte]);
    for (const id of known) {
      const chosen = id ?? (isUnknown ? undefined : unknownId);
      if (chosen !== undefined) ids.push(chosen);
      isUnknown = id === undefined;
    }
  }
  return ids;
}

/**
 * Returns the same BPE as ranked merges, for programs that know no scores: every way to cut a token into two tokens,
 * the highest score first, shorter left parts first.
 */
export function mergesOfScores(scores: ScoredBpeConfig['scores']): [left: string, right: string][] {
  const merges: [string, string][] = [];
  for (const [text] of [...scores].sort(([, a], [, b]) => b - a)) {
    for (let cut = 1; cut < text.length; cut++) {
      const [left, right] = [text.slice(0, cut), text.slice(cut)];
      if (scores.has(left) && scores.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}
