import { FloodgateError } from '../../src/base/errors.ts';
import { randomStream } from '../../src/base/random.ts';
import type { AttackTokens } from '../../src/learning/attack.ts';

/** Two words, one right after the other, that make the target answer with an alarm. */
export interface PairKey {
  readonly first: number;
  readonly second: number;
  /** Probability that one response to an attack with this key is unsafe. */
  readonly leak: number;
}

/** How the keys of an enumerable world are planted. */
export interface AlarmRule {
  readonly keys: number;
  readonly leaks: { readonly low: number; readonly high: number };
  /** Probability of an unsafe response to an attack without a key. */
  readonly falseAlarms: number;
}

/**
 * Plants distinct ordered pairs of `wordIds`, leaks uniform in the rule's range, from the seed's own stream.
 *
 * @throws FloodgateError `config` when there are fewer pairs than keys.
 */
export function plantPairKeys(wordIds: readonly number[], rule: AlarmRule, seed: number): PairKey[] {
  const pairs = wordIds.flatMap((first) => wordIds.map((second) => ({ first, second })));
  if (rule.keys > pairs.length) {
    throw new FloodgateError(
      'config',
      `plant keys: got ${rule.keys} keys, expected at most ${pairs.length}, the pairs of ${wordIds.length} words`,
    );
  }
  const stream = randomStream(seed, 'enumerable keys');
  const { low, high } = rule.leaks;
  return stream
    .shuffle(pairs)
    .slice(0, rule.keys)
    .map((pair) => ({ ...pair, leak: low + (high - low) * stream.nextFloat() }));
}

/** Index of the key that an attack holds, the leakiest where it holds several; undefined where it holds none. */
export function leakiestKey(tokens: readonly number[], keys: readonly PairKey[]): number | undefined {
  let best: number | undefined;
  for (const [index, { first, second, leak }] of keys.entries()) {
    const isHeld = tokens.some((token, i) => token === first && tokens[i + 1] === second);
    if (isHeld && (best === undefined || leak > (keys[best]?.leak as number))) best = index;
  }
  return best;
}

/** Above this many sequences a world is not enumerable in practice: scoring them all would take minutes. */
const MAX_SEQUENCES = 200_000;

/**
 * Every attack that a sampler over `wordIds` can write, shorter ones first, in the order of the ids: those below the
 * maximum length end with the end token, those of the maximum length are cut there and have no end factor.
 *
 * @throws FloodgateError `config` when there are too many.
 */
export function enumerateSequences(
  wordIds: readonly number[],
  lengths: { readonly minTokens: number; readonly maxTokens: number },
): AttackTokens[] {
  const { minTokens, maxTokens } = lengths;
  if (wordIds.length ** maxTokens > MAX_SEQUENCES) {
    throw new FloodgateError(
      'config',
      `enumerate sequences: ${wordIds.length} words up to length ${maxTokens} are too many, expected at most ${MAX_SEQUENCES}`,
    );
  }
  const sequences: AttackTokens[] = [];
  let ofLength: number[][] = [[]];
  for (let length = 1; length <= maxTokens; length++) {
    ofLength = ofLength.flatMap((tokens) => wordIds.map((id) => [...tokens, id]));
    if (length < minTokens) continue;
    for (const tokens of ofLength) sequences.push({ tokens, terminated: length < maxTokens });
  }
  return sequences;
}
