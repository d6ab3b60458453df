import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { louvain, modularity, neighbourGraph, type WeightedGraph } from '../../src/metrics/communities.ts';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';

function graphOf(nodes: number, edges: readonly (readonly [number, number])[]): WeightedGraph {
  const graph = Array.from({ length: nodes }, () => new Map<number, number>());
  for (const [a, b] of edges) {
    graph[a]?.set(b, 1);
    graph[b]?.set(a, 1);
  }
  return graph;
}

/** Edges of Zachary's karate club (1977), nodes from 1. */
const KARATE =
  '2-1 3-1 3-2 4-1 4-2 4-3 5-1 6-1 7-1 7-5 7-6 8-1 8-2 8-3 8-4 9-1 9-3 10-3 11-1 11-5 11-6 12-1 13-1 13-4 14-1 14-2 ' +
  '14-3 14-4 17-6 17-7 18-1 18-2 20-1 20-2 22-1 22-2 26-24 26-25 28-3 28-24 28-25 29-3 30-24 30-27 31-2 31-9 32-1 ' +
  '32-25 32-26 32-29 33-3 33-9 33-15 33-16 33-19 33-21 33-23 33-24 33-30 33-31 33-32 34-9 34-10 34-14 34-15 34-16 ' +
  '34-19 34-20 34-21 34-23 34-24 34-27 34-28 34-29 34-30 34-31 34-32 34-33';

const karate = graphOf(
  34,
  KARATE.split(' ').map((edge) => edge.split('-').map((node) => Number(node) - 1) as [number, number]),
);

/** The highest modularity over all partitions of a small graph. */
function bestModularity(graph: WeightedGraph): number {
  let best = -1;
  const place = (community: number[], used: number): void => {
    if (community.length === graph.length) best = Math.max(best, modularity(graph, community));
    else for (let of = 0; of <= used; of++) place([...community, of], Math.max(used, of + 1));
  };
  place([], 0);
  return best;
}

describe('communities of a graph', () => {
  it('of two cliques that one edge joins are the cliques; nodes without an edge are alone', () => {
    const clique = (first: number) =>
      [0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].filter((j) => j < i).map((j) => [first + i, first + j] as const));
    const graph = graphOf(10, [...clique(0), ...clique(4), [3, 4]]);
    expect(louvain(graph)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 3]);
    expect(louvain(graphOf(3, []))).toEqual([0, 1, 2]);
    expect(louvain([])).toEqual([]);
  });

  it('of the karate club have the four groups and the modularity of the literature', () => {
    expect(karate.reduce((sum, edges) => sum + edges.size, 0)).toBe(2 * 78);
    const community = louvain(karate);
    expect(new Set(community).size).toBe(4);
    // The optimum is 0.4198 (Brandes et al. 2008).
    expect(modularity(karate, community)).toBeGreaterThan(0.41);
    expect(modularity(karate, community)).toBeLessThanOrEqual(0.4198);
    expect(
      modularity(
        karate,
        karate.map(() => 0),
      ),
    ).toBeCloseTo(0, 12);
  });

  it('come near the best partition of small random graphs, which all partitions show', () => {
    for (let seed = 0; seed < 12; seed++) {
      const random = randomStream(seed, 'communities');
      const edges = Array.from({ length: 8 }, (_, i) => Array.from({ length: i }, (_, j) => [i, j] as const)).flat();
      const graph = graphOf(
        8,
        edges.filter(() => random.nextFloat() < 0.4),
      );
      expect(modularity(graph, louvain(graph))).toBeGreaterThanOrEqual(bestModularity(graph) - 0.06);
    }
  });

  it('of planted groups among embeddings are these groups, and independent directions have none', () => {
    const random = randomStream(7, 'planted groups');
    const width = 64;
    const normal = () => Array.from({ length: width }, () => random.nextNormal());
    const centres = Array.from({ length: 5 }, normal);
    const unit = (row: readonly number[]) => row.map((value) => value / Math.hypot(...row));
    const planted = Array.from({ length: 60 }, (_, i) =>
      unit((centres[i % 5] as number[]).map((value) => value + 0.3 * random.nextNormal())),
    );
    const matrixOf = (rows: readonly number[][]) =>
      createEmbeddingMatrix(new Float32Array(rows.flat()), rows.length, width);
    const all = planted.map((_, i) => i);
    expect(louvain(neighbourGraph(matrixOf(planted), all))).toEqual(all.map((i) => i % 5));
    const apart = planted.map(() => unit(normal()));
    expect(new Set(louvain(neighbourGraph(matrixOf(apart), all))).size).toBe(60);
    const graph = neighbourGraph(matrixOf(planted), all, { neighbours: 2 });
    for (const edges of graph) expect(edges.size).toBeGreaterThanOrEqual(2);
  });
});
