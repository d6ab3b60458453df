import { isUnsafe } from '../learning/reward/reward.ts';
import { causeWords } from '../metrics/causes.ts';
import { wordJaccard } from '../metrics/causes-ways.ts';
import type { KeptMap } from '../report/attacks/kept-map.ts';
import { stageWords } from '../report/words/stage-words.ts';
import { countingJudgeOf } from '../runs/manifest.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { PagedAttack } from '../runs/store/attack-pages.ts';
import { type JudgedAttack, openRelatedAttacks, type RelatedAttacks } from '../runs/store/related-attacks.ts';
import { hasBegun } from '../runs/store/run-store.ts';
import { CONTROL_STAGE, causesOf, evaluatedStage, evaluationStage, transferCellOf } from '../runs/store/stage-name.ts';
import { ApiError } from '../serve/api-error.ts';
import { readKeptMap, textsOfPanel } from './map-answers.ts';
import { textAnswer } from './text-answer.ts';
import { asksToShow } from './view-query.ts';

const MAX_NEIGHBOURS = 5;

/** A stage of the database in words: whose attacks they are, and where they were sent. */
function placeWords(stage: string): string {
  if (stage === CONTROL_STAGE) return 'Harmless prompts';
  const cell = transferCellOf(stage);
  if (cell !== undefined) return `${stageWords(cell.attacker).label} on ${cell.target}`;
  const [evaluated, caused] = [evaluatedStage(stage), causesOf(stage)];
  if (evaluated !== undefined) return `${stageWords(evaluated).label}, evaluation`;
  return caused === undefined ? `${stageWords(stage).label}, training` : `${stageWords(caused).label}, causes`;
}

/** The attacker whose attack it is. */
const attackerOf = (stage: string): string =>
  transferCellOf(stage)?.attacker ?? evaluatedStage(stage) ?? causesOf(stage) ?? stage;

function sideAnswer({ id, update, source, responseCount, judges }: JudgedAttack) {
  const outcomes = judges.map((each) => ({ ...each, isSuccess: isUnsafe(each.meanUnsafe) }));
  return { id, update, source, responseCount, judges: outcomes };
}

/** The successes with other texts that share the most of their words with an attack. */
function nearest(text: string, successes: readonly PagedAttack[]) {
  const words = causeWords(text);
  // Of several rows with one text the first counts.
  const distinct = new Map([...successes].reverse().map((each) => [each.text, each]));
  distinct.delete(text);
  return [...distinct.values()]
    .map((attack) => ({ attack, likeness: wordJaccard(words, causeWords(attack.text)) }))
    .filter(({ likeness }) => likeness > 0)
    .sort((a, b) => b.likeness - a.likeness || a.attack.id - b.attack.id)
    .slice(0, MAX_NEIGHBOURS);
}

interface Neighbours {
  readonly encoder: string | null;
  readonly found: readonly { readonly attack: PagedAttack; readonly likeness: number }[];
}

/** The successes that the last report found nearest in meaning; undefined where it did not draw this text. */
function byMeaning(related: RelatedAttacks, map: KeptMap | undefined, own: PagedAttack): Neighbours | undefined {
  const panel = map?.panels.find(({ stage }) => stage === attackerOf(own.stage));
  const texts = panel === undefined ? undefined : textsOfPanel(related, panel);
  const point = panel?.points[texts?.indexOf(own.text) ?? -1];
  if (map === undefined || point === undefined) return undefined;
  const found = point.near.flatMap(({ id, cosine }) => {
    const attack = related.attack(id);
    return attack === undefined ? [] : [{ attack, likeness: cosine }];
  });
  return { encoder: map.encoder, found };
}

function neighboursAnswer(related: RelatedAttacks, own: PagedAttack, options: NeighbourOptions) {
  const { judge, map, isShown } = options;
  const stage = evaluationStage(attackerOf(own.stage));
  const meant = byMeaning(related, map, own);
  const { encoder, found } = meant ?? { encoder: null, found: nearest(own.text, related.successes(stage, judge)) };
  const attacks = found.map(({ attack: { id, responseCount, text }, likeness }) => {
    const mean = related.attack(id)?.judges.find((each) => each.judge === judge)?.meanUnsafe ?? null;
    return { id, likeness, meanUnsafe: mean, responseCount, text: textAnswer(text, isShown) };
  });
  return { by: meant === undefined ? 'words' : 'meaning', encoder, stage, words: placeWords(stage), judge, attacks };
}

interface NeighbourOptions {
  readonly judge: string;
  readonly map: KeptMap | undefined;
  readonly isShown: boolean;
}

/**
 * One attack beside others: the same text in other stages and on further targets, and successes of its attacker's
 * evaluation that are like it: in meaning, where the last report compared it, else in words.
 * @throws ApiError 404.
 */
export async function relatedAnswer(folder: RunFolder, id: string, given: URLSearchParams, signal: AbortSignal) {
  const isShown = asksToShow(given);
  const unknown = new ApiError(404, 'there is no such attack here', { code: 'unknown_attack' });
  if (!/^\d{1,15}$/.test(id) || !hasBegun(folder.databasePath)) throw unknown;
  const related = openRelatedAttacks(folder.databasePath);
  try {
    const own = related.attack(Number(id));
    if (own === undefined) throw unknown;
    const { stages, isFull } = await related.elsewhere(own.id, signal);
    const judge = await countingJudgeOf(folder);
    return {
      attack: { stage: own.stage, words: placeWords(own.stage), ...sideAnswer(own) },
      elsewhere: {
        stages: stages.map(({ stage, count, attacks }) => ({
          ...{ stage, words: placeWords(stage), count, attacks: attacks.map(sideAnswer) },
        })),
        isFull,
      },
      neighbours: neighboursAnswer(related, own, { judge, isShown, map: await readKeptMap(folder) }),
    };
  } finally {
    related.close();
  }
}
