import { randomStream } from '../../base/random.ts';
import { openAttacker } from '../../training/attacker.ts';
import type { Campaign } from '../campaign.ts';
import { type AttackSource, FREE_DRAW } from './attack-source.ts';

/** Attacks that share one context. */
const BLOCK = 32;

/**
 * In-context learning: the untrained model continues the meta-prompt with seed attacks listed after it. Other seeds are
 * drawn for every 32 attacks.
 */
export async function openIclSource(campaign: Campaign): Promise<AttackSource> {
  const { attacker, config, compute, seeds } = campaign;
  const examples = Math.min(config.icl.examples, seeds.attacks.length);
  const contexts = (block: number, seed: number): string => {
    const chosen = randomStream(seed, 'icl examples', block).shuffle(seeds.attacks).slice(0, examples);
    return [...chosen.map((text) => `${config.attacker.metaPrompt}${text}\n`), config.attacker.metaPrompt].join('');
  };
  const longest = Math.max(...seeds.attacks.map((text) => attacker.tokensOf(text).tokens.length + 2));
  const room = attacker.spec.contextTokens + examples * (longest + attacker.prompt.length);
  const contextTokens = Math.min(attacker.spec.config.maxPositions, room);
  const opened = await openAttacker({ ...attacker.spec, contextTokens }, compute);
  const untrained = opened.createParameters();
  await opened.initialise(untrained, config.seed);
  const state = opened.stateOf(untrained);
  return {
    draw: async (first, count, { seed, temperature }) => {
      const attacks = [];
      for (let at = first; at < first + count; ) {
        const block = Math.floor(at / BLOCK);
        const end = Math.min(first + count, (block + 1) * BLOCK);
        const requests = Array.from({ length: end - at }, (_, i) => ({
          stream: randomStream(seed, 'icl attack', at + i),
          temperature,
        }));
        attacks.push(...(await opened.sampleAfter(state, contexts(block, seed), requests)));
        at = end;
      }
      const ids = attacks.map((attack) => opened.rowOf(attack));
      return { attacks, ids, cost: { ...FREE_DRAW, tokens: ids.reduce((sum, row) => sum + row.length, 0) } };
    },
    close: () => opened.close(),
  };
}
