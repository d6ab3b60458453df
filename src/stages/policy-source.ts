import { randomStream } from '../base/random.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { type AttackSource, FREE_DRAW } from './attack-source.ts';

/** A trained attacker, drawn as it is. It owns nothing: whoever opened the attacker closes it. */
export function createPolicySource(attacker: Attacker, state: AttackerState): AttackSource {
  return {
    draw: async (first, count, { seed, temperature }) => {
      const requests = Array.from({ length: count }, (_, i) => ({
        stream: randomStream(seed, 'evaluation attack', first + i),
        temperature,
      }));
      const attacks = await attacker.sample(state, requests);
      const ids = attacks.map((attack) => attacker.rowOf(attack));
      return { attacks, ids, cost: { ...FREE_DRAW, tokens: ids.reduce((sum, row) => sum + row.length, 0) } };
    },
    close: async () => undefined,
  };
}
