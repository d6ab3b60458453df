import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { type Attacker, openAttacker } from '../learning/attacker.ts';
import { type AttackSource, FREE_DRAW } from './attack-source.ts';
import type { Campaign } from './campaign/campaign.ts';

/** Examples of so many tokens that the model's context holds beside an attack. @throws FloodgateError `config` for none. */
function fittingExamples({ spec }: Attacker, perExample: number): number {
  const fitting = Math.floor((spec.config.maxPositions - spec.contextTokens) / perExample);
  if (fitting >= 1) return fitting;
  throw new FloodgateError(
    'config',
    `attacker icl: the context of ${spec.config.maxPositions} tokens holds no example of ${perExample} tokens beside an attack`,
    { hint: 'shorten attacker.metaPrompt or the seeds, or leave icl out of attackers' },
  );
}

/** Attacks that share one context. */
const BLOCK = 32;

/**
 * In-context learning: the untrained model continues the meta-prompt with seed attacks listed after it. Other seeds are
 * drawn for every 32 attacks.
 */
export async function openIclSource(campaign: Campaign): Promise<AttackSource> {
  const { attacker, config, compute, seeds } = campaign;
  const longest = Math.max(...seeds.attacks.map((text) => attacker.tokensOf(text).tokens.length + 2));
  const perExample = longest + attacker.prompt.length;
  const examples = Math.min(config.icl.examples, seeds.attacks.length, fittingExamples(attacker, perExample));
  const contextTokens = attacker.spec.contextTokens + examples * perExample;
  const contexts = (block: number, seed: number): string => {
    const chosen = randomStream(seed, 'icl examples', block).shuffle(seeds.attacks).slice(0, examples);
    return [...chosen.map((text) => `${config.attacker.metaPrompt}${text}\n`), config.attacker.metaPrompt].join('');
  };
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
