// A stage of one's own, an attacker: it joins the halves of two seed attacks, tries a few such children on the target, and
// keeps the best. In a config: attackers: [crossover], crossover: { tries: 4 }
import { createLedger, createSection, defineStage, openReward, randomStream, z } from 'floodgate';

const section = createSection(
  'crossover',
  z
    .strictObject({ tries: z.number().int().min(1).max(64).default(4).describe('children tried for each attack') })
    .prefault({})
    .describe('attacker crossover: the best child of two seed attacks'),
);

/** @param {readonly string[]} seeds @param {import('floodgate').RandomStream} stream */
function joinTwo(seeds, stream) {
  const [first = '', second = ''] = stream.shuffle(seeds);
  return first.slice(0, Math.ceil(first.length / 2)) + second.slice(Math.ceil(second.length / 2));
}

defineStage({
  name: 'crossover',
  needs: [],
  sections: [section],
  words: {
    label: 'Crossover',
    explain: 'Halves of two example messages are joined; the best of a few is kept.',
    learning: 'by trying joined halves of examples',
  },
  knowsTarget: 'learns',
  hasDensity: false,
  planDraw: (config) => config.evaluation.attacks * section.of(config).tries,
  open: async (campaign) => {
    const { tries } = section.of(campaign.config);
    return {
      draw: async (first, count, { seed }) => {
        const ledger = createLedger();
        const reward = openReward(campaign, ledger);
        const attacks = [];
        for (let slot = first; slot < first + count; slot++) {
          const stream = randomStream(seed, 'crossover', slot);
          const texts = Array.from({ length: tries }, () => joinTwo(campaign.seeds.attacks, stream));
          const tried = await reward(texts.map((text, i) => ({ text, streamName: ['crossover', slot, i] })));
          const scores = tried.map(({ score }) => score?.logS ?? -Infinity);
          const text = texts[scores.indexOf(Math.max(...scores))] ?? '';
          attacks.push({ ...campaign.attacker.tokensOf(text), text, source: /** @type {const} */ ('fresh') });
        }
        return { attacks, cost: ledger.calls };
      },
      close: async () => undefined,
    };
  },
});
