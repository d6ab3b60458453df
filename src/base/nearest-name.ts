import { distance } from 'fastest-levenshtein';

/** Returns the name of `names` that `typed` most likely meant, or undefined when none is near. */
export function nearestName(typed: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(typed.length / 3)) + 1;
  for (const name of names) {
    const edits = distance(name.toLowerCase(), typed.toLowerCase());
    if (edits < bestDistance) [best, bestDistance] = [name, edits];
  }
  return best;
}
