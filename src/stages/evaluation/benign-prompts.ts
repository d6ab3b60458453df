import { createKeyFinder, wordsOf } from '../../worlds/keys.ts';
import type { World } from '../../worlds/world.ts';
import { readBenignPairs } from './dialogue-files.ts';

/** Harmless prompts: those that tuning may learn, and those that only measure. */
export interface BenignPrompts {
  readonly training: readonly string[];
  readonly heldOut: readonly string[];
}

/** Share of a world's harmless seeds that tuning may learn. */
const LEARNED = 2 / 3;

/** A world's seeds without a key. */
export function worldBenignPrompts({ keys, seeds }: World): BenignPrompts {
  const finder = createKeyFinder(keys);
  const harmless = [...new Set(seeds)].filter((seed) => finder.heldBy(wordsOf(seed)).length === 0);
  const cut = Math.ceil(harmless.length * LEARNED);
  return { training: harmless.slice(0, cut), heldOut: harmless.slice(cut) };
}

/** Prompts of a benign file, ours where no path is given. Held-out ones are always ours. @throws FloodgateError `config`. */
export async function fileBenignPrompts(path: string | undefined): Promise<BenignPrompts> {
  const ours = await readBenignPairs();
  const given = path === undefined ? ours : await readBenignPairs(path);
  const promptsOf = (split: 'training' | 'held-out', from: typeof ours): string[] => [
    ...new Set(from.filter((pair) => pair.split === split).map(({ prompt }) => prompt)),
  ];
  return { training: promptsOf('training', given), heldOut: promptsOf('held-out', ours) };
}
