import { FloodgateError } from '../../src/base/errors.ts';
import type { AttackTokens } from '../../src/learning/attacker.ts';

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
