import { cosineOfRows } from '../../metrics/embedding-matrix.ts';
import type { Steps } from '../../metrics/steps.ts';
import { type AttackCluster, clusterAttacksInSteps } from '../../metrics/unique-attacks.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import type { EvaluatedAttack, EvaluatedStage, TextVectors } from './evaluated-attacks.ts';

export interface ExampleResponse {
  readonly text: string;
  /** P(unsafe) by the reported judge; null when it could not score. */
  readonly unsafe: number | null;
}

export interface ExampleAttack extends EvaluatedAttack {
  readonly responses: readonly ExampleResponse[];
}

/** Successful attacks that say nearly the same: one wording. */
export interface SuccessCluster {
  /** Rows of `stage.attacks`, the representative first. */
  readonly members: readonly number[];
  readonly meanUnsafe: number;
  /** Share of members that fail once their own words are masked; null when that was not judged. */
  readonly echoShare: number | null;
  readonly distinctTexts: number;
  readonly examples: readonly ExampleAttack[];
}

export interface SuccessClusters {
  readonly stage: string;
  /** The likeness of members: similar embeddings, or (without an encoder) equal texts. */
  readonly by: 'embedding' | 'text';
  readonly threshold: number;
  readonly successes: number;
  /** Largest first; only the first of them carry examples. */
  readonly clusters: readonly SuccessCluster[];
}

/** Most clusters with examples, examples of a cluster and responses of an example, for a page that can be read. */
export const MAX_SHOWN_CLUSTERS = 24;
const MAX_EXAMPLES = 3;
const MAX_RESPONSES = 2;

function successesOf({ attacks }: EvaluatedStage): number[] {
  return attacks.flatMap(({ isSuccess }, row) => (isSuccess ? [row] : []));
}

function* group(stage: EvaluatedStage, vectors: TextVectors, threshold: number): Steps<AttackCluster[]> {
  const successes = successesOf(stage);
  const texts = successes.map((row) => stage.attacks[row]?.text ?? '');
  const isMade = vectors.kind === 'made';
  const matrix = isMade ? vectors.matrixOf(texts) : undefined;
  const similarity = (i: number, j: number): number =>
    matrix === undefined ? (texts[i] === texts[j] ? 1 : -1) : cosineOfRows(matrix, i, j);
  const clusters = yield* clusterAttacksInSteps(similarity, [...successes.keys()], isMade ? threshold : 0);
  return clusters.map(({ representative, members }) => ({
    representative: successes[representative] as number,
    members: members.map((member) => successes[member] as number),
  }));
}

function examplesOf(store: StoreQueries, attacks: readonly EvaluatedAttack[], judge: string): ExampleAttack[] {
  const distinct = [...new Map([...attacks].reverse().map((attack) => [attack.text, attack])).values()].reverse();
  return distinct.slice(0, MAX_EXAMPLES).map((attack) => ({
    ...attack,
    responses: store
      .responses(attack.id)
      .map(({ text, verdicts }) => ({
        text,
        unsafe: verdicts.find((verdict) => verdict.judge === judge && !verdict.masked)?.unsafe ?? null,
      }))
      .sort((a, b) => (b.unsafe ?? -1) - (a.unsafe ?? -1))
      .slice(0, MAX_RESPONSES),
  }));
}

function describeCluster(attacks: readonly EvaluatedAttack[]): Omit<SuccessCluster, 'members' | 'examples'> {
  const judged = attacks.flatMap(({ isEcho }) => (isEcho === null ? [] : [isEcho]));
  return {
    meanUnsafe: attacks.reduce((sum, { meanUnsafe }) => sum + (meanUnsafe ?? 0), 0) / attacks.length,
    echoShare: judged.length === 0 ? null : judged.filter(Boolean).length / judged.length,
    distinctTexts: new Set(attacks.map(({ text }) => text)).size,
  };
}

/**
 * Returns the clusters of a stage's successes, by the rule, order and threshold of the metric `uniqueAttacks`. May pause
 * at every success; a stage has at most `MAX_EVALUATED` attacks.
 */
export function* clusterSuccesses(
  store: StoreQueries,
  stage: EvaluatedStage,
  { vectors, threshold, judge }: { readonly vectors: TextVectors; readonly threshold: number; readonly judge: string },
): Steps<SuccessClusters> {
  const found = (yield* group(stage, vectors, threshold)).sort((a, b) => b.members.length - a.members.length);
  const clusters = found.map(({ members }, rank) => {
    const attacks = members.map((row) => stage.attacks[row] as EvaluatedAttack);
    const examples = rank < MAX_SHOWN_CLUSTERS ? examplesOf(store, attacks, judge) : [];
    return { members, examples, ...describeCluster(attacks) };
  });
  const by = vectors.kind === 'made' ? 'embedding' : 'text';
  return { stage: stage.stage, by, threshold, successes: successesOf(stage).length, clusters };
}
