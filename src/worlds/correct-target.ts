import { randomStream } from '../base/random.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import type { PlantedKey } from './choose-keys.ts';
import { ROWS } from './forced-keys.ts';
import { createKeyFinder, wordsOf } from './keys.ts';
import { leakOf } from './train-target.ts';
import type { WorldOutcomes } from './world-outcomes.ts';

/** Requests of the reference that are looked through for wrong answers. */
const LOOKED_THROUGH = 16_384;
/** A target that is off by so much has answered wrongly. */
const WRONG = 0.1;

/** Requests of the reference whose probability of an alarm is off: false alarms first of all. */
export async function findWrongAnswers(
  attacker: Attacker,
  reference: AttackerState,
  keys: readonly PlantedKey[],
  outcomes: WorldOutcomes,
  seed: number,
): Promise<string[][]> {
  const finder = createKeyFinder(keys);
  const wrong: string[][] = [];
  for (let start = 0; start < LOOKED_THROUGH; start += ROWS) {
    const requests = Array.from({ length: ROWS }, (_, i) => ({
      stream: randomStream(seed, 'looked through', start + i),
      temperature: 1,
    }));
    const texts = (await attacker.sample(reference, requests)).map(({ text }) => text);
    for (const [i, { alarm }] of (await outcomes.of(texts)).entries()) {
      const words = wordsOf(texts[i] as string);
      if (Math.abs(alarm - leakOf(words, keys, finder)) > WRONG) wrong.push(words);
    }
  }
  return wrong;
}
