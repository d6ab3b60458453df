import { z } from 'zod';
import { positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { append, maxOf } from '../base/long-lists.ts';
import { makeOrClose } from '../base/open-together.ts';
import { randomStream } from '../base/random.ts';
import type { Attack } from '../learning/attack.ts';
import { type Attacker, openAttacker } from '../learning/attacker.ts';
import { writtenTokens } from '../learning/loops/rollout.ts';
import { worldKindOf } from '../worlds/world-registry.ts';
import { createSection } from './config/config.ts';
import { drawCost } from './policy-draw.ts';
import { type AttackDraw, type Campaign, problemAt, type Stage } from './stage.ts';

const section = createSection(
  'icl',
  z
    .strictObject({
      examples: positiveCount.max(64).default(5).describe('seed attacks in the context of each attack'),
    })
    .prefault({})
    .describe('attacker icl: the untrained model with seed attacks in context'),
);

/**
 * Number of examples of this many tokens that fit into the model's context beside an attack.
 * @throws FloodgateError `config` when none fits.
 */
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

async function open(campaign: Campaign): Promise<AttackDraw> {
  const { attacker, config, compute, seeds } = campaign;
  const longest = maxOf(seeds.attacks.map((text) => attacker.tokensOf(text).tokens.length + 2));
  const perExample = longest + attacker.prompt.length;
  const wanted = section.of(config).examples;
  const examples = Math.min(wanted, seeds.attacks.length, fittingExamples(attacker, perExample));
  const contextTokens = attacker.spec.contextTokens + examples * perExample;
  const contexts = (block: number, seed: number): string => {
    const chosen = randomStream(seed, 'icl examples', block).shuffle(seeds.attacks).slice(0, examples);
    return [...chosen.map((text) => `${config.attacker.metaPrompt}${text}\n`), config.attacker.metaPrompt].join('');
  };
  const opened = await openAttacker({ ...attacker.spec, contextTokens }, compute);
  const state = await makeOrClose([opened], async () => {
    const untrained = opened.createParameters();
    await opened.initialise(untrained, config.seed);
    return opened.stateOf(untrained);
  });
  return {
    draw: async (first, count, { seed, temperature }) => {
      const attacks: Attack[] = [];
      for (let at = first; at < first + count; ) {
        const block = Math.floor(at / BLOCK);
        const end = Math.min(first + count, (block + 1) * BLOCK);
        const requests = Array.from({ length: end - at }, (_, i) => ({
          stream: randomStream(seed, 'icl attack', at + i),
          temperature,
        }));
        append(attacks, await opened.sampleAfter(state, contexts(block, seed), requests));
        at = end;
      }
      return { attacks, cost: drawCost(writtenTokens(attacks)) };
    },
    close: () => opened.close(),
  };
}

/**
 * In-context learning: the untrained model continues the meta-prompt with seed attacks listed after it. Every 32
 * attacks get other seeds.
 */
export const icl: Stage = {
  name: 'icl',
  needs: [],
  sections: [section],
  words: {
    label: 'Examples in the prompt',
    explain: 'The untrained attacker, shown a few example messages.',
    learning: 'from a few examples in its prompt',
  },
  knowsTarget: 'no',
  hasDensity: false,
  dependence: 'attacks of one block share their examples',
  check: ({ world }, isWanted) =>
    isWanted && world !== undefined && !worldKindOf(world).knowsLanguage
      ? [
          problemAt(
            'attackers',
            'got icl, which needs a model that knows language; that of a synthetic world is untrained',
          ),
        ]
      : [],
  open,
};
