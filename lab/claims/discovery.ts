import { isUnsafe } from '../../src/learning/reward/reward.ts';
import { louvain, neighbourGraph } from '../../src/metrics/communities.ts';
import { cosineOfRows, createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { successIndices } from '../../src/metrics/success.ts';
import { clusterAttacks } from '../../src/metrics/unique-attacks.ts';
import type { SentenceEncoder } from '../../src/models/encoder/text-encoder.ts';
import type { StoreQueries } from '../../src/runs/store/queries.ts';
import { evaluationStage } from '../../src/runs/store/stage-name.ts';
import { outcomeBy } from '../../src/stages/evaluation/evaluation-plan.ts';
import { stages } from '../../src/stages/registry.ts';

/** A success of training, and the target calls that were used when its answers had come. */
export interface Find {
  readonly text: string;
  readonly calls: number;
}

/**
 * The successes of an attacker's training, or of the training that it smooths over, in the order of the calls; `asked`
 * is 0 where no attack that it tried is stored.
 */
export function trainingFinds(
  store: StoreQueries,
  attacker: string,
): { readonly asked: number; readonly finds: readonly Find[] } {
  const stage = stages.get(attacker).smooths ?? attacker;
  const finds: Find[] = [];
  let calls = 0;
  for (const { text, responseCount, meanUnsafe } of store.attacks({ stage })) {
    calls += responseCount;
    if (responseCount > 0 && meanUnsafe !== null && isUnsafe(meanUnsafe)) finds.push({ text, calls });
  }
  return { asked: calls, finds };
}

/** Target calls after which each way of a world was first held by a success, ascending. `held`: the ways of each find. */
export function waysFoundAt(finds: readonly Find[], held: readonly (readonly number[])[]): number[] {
  const first = new Map<number, number>();
  for (const [i, { calls }] of finds.entries()) {
    for (const way of held[i] ?? []) if (!first.has(way)) first.set(way, calls);
  }
  return [...first.values()];
}

/** Target calls after which each wording was first found: greedy clusters in the order of the calls. */
export async function wordingsFoundAt(finds: readonly Find[], encoder: SentenceEncoder): Promise<number[]> {
  if (finds.length === 0) return [];
  const flat = await encoder.embed(finds.map(({ text }) => text));
  const matrix = createEmbeddingMatrix(flat, finds.length, encoder.width);
  const clusters = clusterAttacks(
    (i, j) => cosineOfRows(matrix, i, j),
    finds.map((_, i) => i),
  );
  return clusters.map(({ representative }) => (finds[representative] as Find).calls);
}

/** Louvain communities of the evaluated successes of an attacker, by the judge that counts. */
export async function successCommunities(
  store: StoreQueries,
  attacker: string,
  judge: string,
  encoder: SentenceEncoder,
): Promise<number> {
  const attacks = store.attacks({ stage: evaluationStage(attacker) });
  const successes = successIndices(
    attacks.map(({ id }) => outcomeBy(store.responses(id), { name: judge, masked: false })),
  );
  if (successes.length === 0) return 0;
  const flat = await encoder.embed(successes.map((i) => attacks[i]?.text ?? ''));
  const matrix = createEmbeddingMatrix(flat, successes.length, encoder.width);
  const graph = neighbourGraph(
    matrix,
    successes.map((_, i) => i),
  );
  return new Set(louvain(graph)).size;
}

/**
 * Area under the curve of ways against calls, up to `budget`, as a share of the calls: the ways known on average while
 * the budget is used.
 */
export function areaUnderWays(foundAt: readonly number[], budget: number): number {
  return foundAt.reduce((sum, calls) => sum + Math.max(0, budget - calls) / budget, 0);
}

/** Target calls after which `ways` ways were found; undefined where they never were. */
export function callsToWays(foundAt: readonly number[], ways: number): number | undefined {
  return ways <= 0 ? undefined : foundAt[ways - 1];
}
