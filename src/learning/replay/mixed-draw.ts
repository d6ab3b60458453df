import type { RandomStream } from '../../base/random.ts';
import { isUnsafe } from '../reward/reward.ts';
import type { ReplayBuffer } from './replay-buffer.ts';
import type { ReplayEntry } from './replay-entry.ts';
import type { WordingClusters } from './wording-clusters.ts';

/** Shares of a mixed draw; the rest is drawn by log S from all that is left. */
export interface MixRule {
  /** Share of the rows drawn from clusters of successes: a rare wording replays as often as a common one. */
  readonly clusters: number;
  /** Share of the rows drawn from the attacks that failed, each equally likely. */
  readonly failures: number;
}

/**
 * Up to `count` distinct entries: from the clusters of successes, then failures, then by softmax(log S) from the rest. A
 * share that finds too few entries leaves its rows to the last. Within a share, weights are renormalised after each row.
 */
export function drawMixed(
  buffer: ReplayBuffer,
  clusters: WordingClusters,
  { clusters: fromClusters, failures }: MixRule,
  { count, stream }: { readonly count: number; readonly stream: RandomStream },
): ReplayEntry[] {
  const entries = buffer.all();
  clusters.follow(entries);
  const sizes = new Map<number | undefined, number>();
  for (const { id, score } of entries) {
    const cluster = clusters.clusterOf(id);
    if (isUnsafe(score.meanUnsafe)) sizes.set(cluster, (sizes.get(cluster) ?? 0) + 1);
  }
  const drawn = new Map<number, ReplayEntry>();
  const draw = (rows: number, logWeight: (entry: ReplayEntry) => number | undefined): void => {
    const left = buffer.draw(
      Math.min(rows, count - drawn.size),
      (entry) => (drawn.has(entry.id) ? undefined : logWeight(entry)),
      stream,
    );
    for (const entry of left) drawn.set(entry.id, entry);
  };
  draw(Math.round(count * fromClusters), ({ id, score }) =>
    isUnsafe(score.meanUnsafe) ? -Math.log(sizes.get(clusters.clusterOf(id)) as number) : undefined,
  );
  draw(Math.round(count * failures), ({ score }) => (isUnsafe(score.meanUnsafe) ? undefined : 0));
  draw(count, ({ score }) => score.logS);
  return [...drawn.values()];
}
