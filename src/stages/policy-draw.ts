import { randomStream } from '../base/random.ts';
import { type Attacker, type AttackerState, cellInTurn } from '../learning/attacker.ts';
import { writtenTokens } from '../learning/loops/rollout.ts';
import type { Calls } from '../trial/ledger.ts';
import type { AttackDraw } from './stage.ts';

/** A cost of only the attacker's own tokens. */
export function drawCost(tokens: number): Calls {
  return { targetCalls: 0, judgeCalls: 0, tokens };
}

/** Draws from a trained attacker directly; its cells take turns. The draw owns nothing: the opener of the attacker closes it. */
export function createPolicyDraw(attacker: Attacker, state: AttackerState): AttackDraw {
  return {
    draw: async (first, count, { seed, temperature }) => {
      const requests = Array.from({ length: count }, (_, i) => ({
        stream: randomStream(seed, 'evaluation attack', first + i),
        temperature,
        ...cellInTurn(attacker.cells, first + i),
      }));
      const attacks = await attacker.sample(state, requests);
      return { attacks, cost: drawCost(writtenTokens(attacks)) };
    },
    close: async () => undefined,
  };
}
