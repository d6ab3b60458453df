import { z } from 'zod';
import { line, positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { attackOutcome, isSuccess } from '../metrics/success.ts';
import { countingJudgeOf } from '../runs/manifest.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { hasBegun, openStore } from '../runs/store/run-store.ts';
import { evaluatedStage } from '../runs/store/stage-name.ts';
import { verdictsOf } from '../trial/evidence.ts';
import { createSection } from './config/config.ts';
import { drawCost } from './policy-draw.ts';
import { type AttackDraw, type Campaign, problemAt, type Stage } from './stage.ts';

const NAME = 'replay';

const section = createSection(
  NAME,
  z
    .strictObject({
      from: line
        .optional()
        .describe('the run whose successful attacks are sent again: run:NAME or the path of a run folder'),
      attacks: positiveCount.max(1_000_000).default(256).describe('at most so many, of all its attackers in turn'),
    })
    .prefault({})
    .describe('attacker replay: sends the successes of an earlier run to the target again'),
);

/** Where the baseline's attacks are kept between two openings of one run: a run reads them once. */
const KEPT = 'replayed attacks';

/** Distinct successes of a run's evaluations by its counting judge, its attackers in turn. */
async function successesOf(campaign: Campaign, from: string): Promise<string[]> {
  const folder = await openRunFolder(from, `${campaign.folder.path}/..`);
  if (!hasBegun(folder.databasePath)) throw nothingToReplay(from);
  const judge = await countingJudgeOf(folder);
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const byStage = store.stages().flatMap(({ name }) => {
      if (evaluatedStage(name) === undefined) return [];
      const attacks = store.attacks({ stage: name, source: 'evaluation' });
      const seat = { name: judge, masked: false };
      const succeeds = (id: number): boolean => isSuccess(attackOutcome(verdictsOf(store.responses(id), seat)));
      return [attacks.filter(({ id }) => succeeds(id)).map(({ text }) => text)];
    });
    return [...new Set(inTurn(byStage))];
  } finally {
    store.close();
  }
}

/** The first of each list, then the second of each, and so on. */
function inTurn<T>(lists: readonly (readonly T[])[]): T[] {
  const longest = lists.reduce((most, list) => Math.max(most, list.length), 0);
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}

function nothingToReplay(from: string): FloodgateError {
  return new FloodgateError('run', `replay.from ${from}: no attack of that run succeeded in an evaluation`, {
    hint: 'name a run that found something, or leave replay out of attackers',
  });
}

/** The texts that this run replays: read from the baseline at first, afterwards from the run's own database. */
async function replayedTexts(campaign: Campaign): Promise<readonly string[]> {
  const { config, store } = campaign;
  const kept = store.info(KEPT);
  if (kept !== undefined) return JSON.parse(kept) as string[];
  const { from = '', attacks } = section.of(config);
  const texts = (await successesOf(campaign, from)).slice(0, attacks);
  if (texts.length === 0) throw nothingToReplay(from);
  store.setInfo(KEPT, JSON.stringify(texts));
  return texts;
}

async function open(campaign: Campaign): Promise<AttackDraw> {
  const texts = await replayedTexts(campaign);
  return {
    draw: async (first, count) => {
      // A text is sent as it is, whatever the attacker's own tokens would make of it.
      const asIs = { source: 'evaluation', tokens: [], terminated: false } as const;
      return { attacks: texts.slice(first, first + count).map((text) => ({ ...asIs, text })), cost: drawCost(0) };
    },
    close: async () => undefined,
  };
}

/** Sends the successful attacks of an earlier run to this run's target: which of them still work? */
export const replay: Stage = {
  name: NAME,
  needs: [],
  sections: [section],
  words: {
    label: 'Replayed attacks',
    explain: 'The attacks that succeeded in an earlier run, sent again.',
  },
  knowsTarget: 'no',
  hasDensity: false,
  dependence: 'its attacks were chosen because they succeeded before',
  check: (config, isWanted) =>
    isWanted && section.of(config).from === undefined
      ? [problemAt('replay.from', 'is missing, expected run:NAME or the path of a run folder')]
      : [],
  checkModels: async (campaign) => void (await replayedTexts(campaign)),
  mostAttacks: async (campaign) => (await replayedTexts(campaign)).length,
  open,
};
