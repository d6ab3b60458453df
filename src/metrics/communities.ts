import { attackMetric } from './attack-set.ts';
import { cosineOfRows, type EmbeddingMatrix } from './embedding-matrix.ts';
import { pointMeasure } from './measure.ts';
import { finishSteps, type Steps } from './steps.ts';
import { successIndices } from './success.ts';
import { UNIQUE_ATTACK_COSINE } from './unique-attacks.ts';

/** An undirected graph: for each node its neighbours with the weight of the edge, both ways, without loops. */
export type WeightedGraph = readonly ReadonlyMap<number, number>[];

export interface NeighbourOptions {
  /** Cosine above which two rows may be joined. */
  readonly threshold?: number;
  /** Most similar rows that each row is joined with. */
  readonly neighbours?: number;
}

const NEIGHBOURS = 16;

/** The graph of `rows`: each is joined with its most similar rows above the threshold, by their cosine. O(rows^2). */
export function neighbourGraph(
  embeddings: EmbeddingMatrix,
  rows: readonly number[],
  options: NeighbourOptions = {},
): WeightedGraph {
  return finishSteps(neighbourGraphInSteps(embeddings, rows, options));
}

function* neighbourGraphInSteps(
  embeddings: EmbeddingMatrix,
  rows: readonly number[],
  { threshold = UNIQUE_ATTACK_COSINE, neighbours = NEIGHBOURS }: NeighbourOptions,
): Steps<WeightedGraph> {
  const graph = rows.map(() => new Map<number, number>());
  for (const [i, row] of rows.entries()) {
    yield;
    const near: { readonly j: number; readonly cosine: number }[] = [];
    for (let j = 0; j < rows.length; j++) {
      const cosine = i === j ? -1 : cosineOfRows(embeddings, row, rows[j] as number);
      if (cosine > threshold) near.push({ j, cosine });
    }
    near.sort((a, b) => b.cosine - a.cosine || a.j - b.j);
    for (const { j, cosine } of near.slice(0, neighbours)) {
      graph[i]?.set(j, cosine);
      graph[j]?.set(i, cosine);
    }
  }
  return graph;
}

/** One level of the method: `loops` has twice the weight inside each node, which earlier levels have merged. */
interface Level {
  readonly graph: WeightedGraph;
  readonly loops: readonly number[];
}

/** A gain of modularity below this is rounding. */
const LEAST_GAIN = 1e-12;

/** Moves nodes, in their order, to the neighbouring community of the highest gain until none moves. */
function moveNodes({ graph, loops }: Level, twiceTotal: number): number[] {
  const degrees = graph.map((edges, node) => sum(edges.values()) + (loops[node] as number));
  const community = graph.map((_, node) => node);
  const weight = [...degrees];
  for (let moved = true; moved; ) {
    moved = false;
    for (const [node, edges] of graph.entries()) {
      const degree = degrees[node] as number;
      const from = community[node] as number;
      weight[from] = (weight[from] as number) - degree;
      const joined = new Map<number, number>([[from, 0]]);
      for (const [other, edge] of edges) {
        const of = community[other] as number;
        joined.set(of, (joined.get(of) ?? 0) + edge);
      }
      const gainOf = (of: number): number => (joined.get(of) ?? 0) - (degree * (weight[of] as number)) / twiceTotal;
      let to = from;
      for (const of of joined.keys()) if (gainOf(of) > gainOf(to) + LEAST_GAIN) to = of;
      community[node] = to;
      weight[to] = (weight[to] as number) + degree;
      moved ||= to !== from;
    }
  }
  return community;
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** Communities as consecutive numbers, in the order of their first node. */
function renumbered(community: readonly number[]): number[] {
  const numbers = new Map<number, number>();
  return community.map((of) => {
    const number = numbers.get(of) ?? numbers.size;
    numbers.set(of, number);
    return number;
  });
}

/** The graph whose nodes are the communities. */
function merged({ graph, loops }: Level, community: readonly number[], count: number): Level {
  const next = Array.from({ length: count }, () => new Map<number, number>());
  const inside = new Array<number>(count).fill(0);
  for (const [node, edges] of graph.entries()) {
    const mine = community[node] as number;
    inside[mine] = (inside[mine] as number) + (loops[node] as number);
    for (const [other, edge] of edges) {
      const theirs = community[other] as number;
      if (theirs === mine) inside[mine] = (inside[mine] as number) + edge;
      else next[mine]?.set(theirs, (next[mine]?.get(theirs) ?? 0) + edge);
    }
  }
  return { graph: next, loops: inside };
}

/**
 * Communities of high modularity by the method of Louvain (Blondel et al. 2008): the number of each node's community,
 * from 0 in the order of first nodes. A node without an edge is alone. Nodes are visited in their order, so the same
 * graph has the same communities.
 */
export function louvain(graph: WeightedGraph): number[] {
  const twiceTotal = graph.reduce((total, edges) => total + sum(edges.values()), 0);
  let community = graph.map((_, node) => node);
  if (twiceTotal === 0) return community;
  let level: Level = { graph, loops: graph.map(() => 0) };
  for (;;) {
    const moved = renumbered(moveNodes(level, twiceTotal));
    const count = new Set(moved).size;
    community = community.map((of) => moved[of] as number);
    if (count === level.graph.length) return renumbered(community);
    level = merged(level, moved, count);
  }
}

/** Share of the weight inside communities, minus what a random graph of the same degrees has there (Newman 2004). */
export function modularity(graph: WeightedGraph, community: readonly number[]): number {
  const twiceTotal = graph.reduce((total, edges) => total + sum(edges.values()), 0);
  if (twiceTotal === 0) return 0;
  const degreeOf = new Map<number, number>();
  let inside = 0;
  for (const [node, edges] of graph.entries()) {
    const mine = community[node] as number;
    degreeOf.set(mine, (degreeOf.get(mine) ?? 0) + sum(edges.values()));
    for (const [other, edge] of edges) if (community[other] === mine) inside += edge;
  }
  const expected = sum([...degreeOf.values()].map((degree) => (degree / twiceTotal) ** 2));
  return inside / twiceTotal - expected;
}

/** Successes of which communities are made: the graph is quadratic in them. */
const MOST_ROWS = 4096;

/** A second partition of the same successes, beside greedy clusters: no result should depend on one of them. */
export const communities = attackMetric({
  name: 'communities',
  words: {
    label: 'Communities of wordings',
    explain: 'Successful attacks grouped by another method (Louvain). It should rank attackers as wordings do.',
    form: 'count',
  },
  steps: function* ({ embeddings, outcomes }, { threshold }) {
    const all = successIndices(outcomes);
    const rows = all.slice(0, MOST_ROWS);
    const graph = yield* neighbourGraphInSteps(embeddings, rows, threshold === undefined ? {} : { threshold });
    const cut = rows.length < all.length ? `, the first ${MOST_ROWS} successes` : '';
    return pointMeasure(new Set(louvain(graph)).size, rows.length, `Louvain over nearest neighbours${cut}`);
  },
});
