import { z } from 'zod';
import { positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { append, maxOf } from '../base/long-lists.ts';
import { makeOrClose } from '../base/open-together.ts';
import { type RandomStream, randomStream } from '../base/random.ts';
import type { Attack } from '../learning/attack.ts';
import {
  type Attacker,
  cellInTurn,
  type DrawRequest,
  openAttacker,
  placesByCell,
  promptsOf,
} from '../learning/attacker.ts';
import { writtenTokens } from '../learning/loops/rollout.ts';
import { worldKindOf } from '../worlds/world-registry.ts';
import { createSection } from './config/config.ts';
import { drawCost } from './policy-draw.ts';
import { seedCells } from './seed-cells.ts';
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

/** A text with seeds in it that the attacks of a block continue; with cells, the seeds are those of the cell. */
function contextOf(
  { attacker, seeds }: Campaign,
  cellOf: (text: string) => { readonly cell?: string },
  cell: string | undefined,
  { examples, stream }: { readonly examples: number; readonly stream: RandomStream },
): string {
  const prompt = promptsOf(attacker.spec).find((each) => each.cell === cell)?.text ?? '';
  const own = seeds.attacks.filter((text) => cellOf(text).cell === cell);
  const chosen = stream.shuffle(own).slice(0, examples);
  return [...chosen.map((text) => `${prompt}${text}\n`), prompt].join('');
}

async function open(campaign: Campaign): Promise<AttackDraw> {
  const { attacker, config, compute, seeds } = campaign;
  const cellOf = await seedCells(campaign);
  const longest = maxOf(seeds.attacks.map((text) => attacker.tokensOf(text).tokens.length + 2));
  const perExample = longest + maxOf(attacker.cells.map((cell) => attacker.promptOf(cell).length));
  const wanted = section.of(config).examples;
  const examples = Math.min(wanted, seeds.attacks.length, fittingExamples(attacker, perExample));
  const contextTokens = attacker.spec.contextTokens + examples * perExample;
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
          ...cellInTurn(attacker.cells, at + i),
        }));
        const drawn = new Array<Attack>(requests.length);
        for (const [cell, places] of placesByCell(requests)) {
          const stream = randomStream(seed, 'icl examples', block);
          const context = contextOf(campaign, cellOf, cell, { examples, stream });
          const own = places.map((i) => requests[i] as DrawRequest);
          const written = await opened.sampleAfter(state, context, own);
          for (const [i, attack] of written.entries()) drawn[places[i] as number] = attack;
        }
        append(attacks, drawn);
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
