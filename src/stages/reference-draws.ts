import { setImmediate as nextTurn } from 'node:timers/promises';
import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import { randomStream } from '../base/random.ts';
import type { Attack } from '../learning/attack.ts';
import { type Attacker, type AttackerState, cellInTurn, placesByCell } from '../learning/attacker.ts';
import { writtenTokens } from '../learning/loops/rollout.ts';
import { MeaningCoverage, MOST_COVERED } from '../learning/proposals/meaning-coverage.ts';
import { WordCoverage } from '../learning/proposals/word-coverage.ts';
import type { ConfigProblem } from '../runs/config/config-problems.ts';
import { embedEach } from './embed-each.ts';
import { type Campaign, problemAt } from './stage.ts';

/** Attacks tried and stored at once: a kill loses at most this many. */
export const TRIED_AT_ONCE = 64;

/** Which attacks of the reference are tried. */
export interface ReferenceDraws {
  /** How many are tried. */
  readonly attacks: number;
  /** Drawn for each of them. 1: they are tried as they come; more: those that cover most. */
  readonly candidates: number;
  /** Of what they cover most: runs of words, or meaning by sentence embedding. */
  readonly coverage: 'words' | 'meaning';
}

/** Attacks of the reference that are to be tried. */
export interface ChosenDraws {
  readonly attacks: readonly Attack[];
  /** Tokens of every attack that was drawn, those that are not tried too. */
  readonly tokens: number;
}

/** The problem at `key`, where the number of candidates is set, of more draws than meaning can be compared of. */
export function checkCompared(key: string, { attacks, candidates, coverage }: ReferenceDraws): ConfigProblem[] {
  if (candidates === 1 || coverage !== 'meaning' || attacks * candidates <= MOST_COVERED) return [];
  const what = `got ${candidates} for each of ${attacks}, expected at most ${MOST_COVERED} draws that are compared by meaning`;
  return [problemAt(key, what)];
}

/** Rows that are drawn at once: more than a chunk where the vocabulary is so small that their logits weigh nothing. */
function drawnRows({ spec }: Attacker): number {
  return Math.max(TRIED_AT_ONCE, Math.min(8 * TRIED_AT_ONCE, Math.floor(2 ** 20 / spec.config.vocabSize)));
}

/** Draws so many attacks of the reference. */
async function sampleReference(
  { attacker, config, io: { signal, progress } }: Campaign,
  reference: AttackerState,
  count: number,
): Promise<Attack[]> {
  const drawn: Attack[] = [];
  const bar = progress.start('draw from the reference', count, 'attacks');
  while (drawn.length < count) {
    throwIfStopped(signal);
    const requests = Array.from({ length: Math.min(drawnRows(attacker), count - drawn.length) }, (_, i) => ({
      stream: randomStream(config.seed, 'reference', drawn.length + i),
      temperature: 1,
      ...cellInTurn(attacker.cells, drawn.length + i),
    }));
    const sampled = await attacker.sample(reference, requests);
    append(
      drawn,
      sampled.map(({ logPi: _logPi, ...attack }): Attack => ({ ...attack, source: 'reference' })),
    );
    bar.update(drawn.length);
  }
  bar.finish();
  return drawn;
}

/**
 * Attacks of the reference, its cells in turn: every one that it draws, or of `candidates` times as many those that cover
 * most. It asks nobody, and a repeated run draws the same.
 * @throws FloodgateError `interrupted` when the signal was aborted.
 */
export async function drawReference(
  campaign: Campaign,
  reference: AttackerState,
  { attacks, candidates: each, coverage: by }: ReferenceDraws,
): Promise<ChosenDraws> {
  const candidates = await sampleReference(campaign, reference, attacks * each);
  const tokens = writtenTokens(candidates);
  if (each === 1) return { attacks: candidates, tokens };
  const ofCells = [...placesByCell(candidates).values()];
  const chosen: Attack[][] = [];
  for (const [i, places] of ofCells.entries()) {
    const share = Math.ceil((attacks - i) / ofCells.length); // as many as its turns
    const own = places.map((place) => candidates[place] as Attack);
    const coverage = by === 'words' ? new WordCoverage(own) : await coverMeaning(campaign, own);
    chosen.push(await takeFirst(coverage, share, campaign.io.signal));
  }
  const inTurn = Array.from({ length: attacks }, (_, i) => {
    return chosen[i % chosen.length]?.[Math.floor(i / chosen.length)] as Attack;
  });
  return { attacks: inTurn, tokens };
}

/** Candidates as coverage compares them: by sentence embedding. */
async function coverMeaning(
  { encoder, io: { signal, progress } }: Campaign,
  candidates: readonly Attack[],
): Promise<MeaningCoverage<Attack>> {
  const coverage = new MeaningCoverage<Attack>(candidates.length);
  const embed = embedEach(encoder);
  const bar = progress.start('compare the draws', candidates.length, 'attacks');
  for (let start = 0; start < candidates.length; start += TRIED_AT_ONCE) {
    const chunk = candidates.slice(start, start + TRIED_AT_ONCE);
    for (const [i, embedding] of (await embed(chunk.map(({ text }) => text))).entries()) {
      throwIfStopped(signal);
      coverage.add(chunk[i] as Attack, embedding);
      await nextTurn();
    }
    bar.update(start + chunk.length);
  }
  bar.finish();
  return coverage;
}

/** The first `count` candidates in the order of their coverage. */
async function takeFirst(
  coverage: WordCoverage<Attack> | MeaningCoverage<Attack>,
  count: number,
  signal: AbortSignal,
): Promise<Attack[]> {
  const chosen: Attack[] = [];
  while (chosen.length < count) {
    throwIfStopped(signal);
    chosen.push(coverage.take() as Attack);
    await nextTurn();
  }
  return chosen;
}

function throwIfStopped(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new FloodgateError('interrupted', 'draw from the reference: interrupted, nothing is lost', {
    hint: 'floodgate resume continues the run',
  });
}
