import { randomStream } from '../base/random.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { writtenTokens } from '../learning/loops/rollout.ts';
import type { Calls } from '../trial/ledger.ts';
import type { AttackDraw } from './stage.ts';

/** Nothing but the attacker's own tokens. */
export function drawCost(tokens: number): Calls {
  return { targetCalls: 0, judgeCalls: 0, tokens };
}

/** A trained attacker, drawn as it is. It owns nothing: whoever opened the attacker closes it. */
export function createPolicyDraw(attacker: Attacker, state: AttackerState): AttackDraw {
  return {
    draw: async (first, count, { seed, temperature }) => {
      const requests = Array.from({ length: count }, (_, i) => ({
        stream: randomStream(seed, 'evaluation attack', first + i),
        temperature,
      }));
      const attacks = await attacker.sample(state, requests);
      return { attacks, cost: drawCost(writtenTokens(attacks)) };
    },
    close: async () => undefined,
  };
}
