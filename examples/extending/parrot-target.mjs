// A target of one's own: it repeats what it is told, and shouts where the attack holds a word that annoys it.
// In a config: target: { kind: parrot, annoyedBy: [z] }
import { defineTarget, FloodgateError, NO_MODEL_FACTS, randomStream, z } from 'floodgate';

/**
 * @param {readonly string[]} annoyedBy
 * @param {number} seed
 * @returns {import('floodgate').Target}
 */
function createParrot(annoyedBy, seed) {
  let isClosed = false;
  /** @param {string} attack @param {number} draw */
  const answer = (attack, draw) => {
    const isAnnoyed = annoyedBy.some((word) => attack.includes(word));
    const text = isAnnoyed && draw < 0.9 ? 'I HAVE HAD ENOUGH' : `you said ${attack}`;
    return { kind: /** @type {const} */ ('text'), text, truncated: false, usage: { calls: 1, tokens: 4 } };
  };
  return {
    name: 'parrot',
    async ask(requests, { responses, signal }) {
      if (isClosed) throw new FloodgateError('target', 'parrot: used after close');
      if (signal?.aborted) throw new FloodgateError('interrupted', 'parrot: interrupted');
      return requests.map(({ attack, streamName }) =>
        Array.from({ length: responses }, (_, i) => answer(attack, randomStream(seed, ...streamName, i).nextFloat())),
      );
    },
    async close() {
      isClosed = true;
    },
  };
}

defineTarget({
  name: 'parrot',
  describe: 'repeats the attack, or shouts',
  fields: { annoyedBy: z.array(z.string().min(1)).min(1).describe('words that make it shout') },
  plan: async ({ annoyedBy }, { seed }) => {
    const facts = { ...NO_MODEL_FACTS, kind: 'parrot', model: 'parrot' };
    return {
      facts,
      open: async () => {
        const target = createParrot(annoyedBy, seed);
        return { target, facts, checkpoint: undefined, close: () => target.close() };
      },
    };
  },
});
