/** How the next token is drawn from the tempered distribution. */
export interface TokenFilter {
  /** Keep the most probable k; 0 keeps all. */
  readonly topK: number;
  /** Keep the smallest set of most probable tokens with at least this mass; 1 keeps all. */
  readonly topP: number;
}

/** Most probable tokens first; only tokens that the filter may keep are ever sorted. */
function nucleus(probabilities: Float32Array, filter: TokenFilter): { ids: number[]; mass: number } {
  // Tokens below (1 - topP) / V weigh less than 1 - topP together, so they lie outside the nucleus: exact, and rarely reached.
  const floor = filter.topK > 0 ? 0 : (1 - filter.topP) / probabilities.length;
  for (let threshold = 1e-3; ; threshold = threshold > 1e-5 ? threshold * 0.1 : floor) {
    const ids: number[] = [];
    let mass = 0;
    for (let id = 0; id < probabilities.length; id++) {
      const p = probabilities[id] as number;
      if (p > threshold) {
        ids.push(id);
        mass += p;
      }
    }
    const isEnough = mass >= filter.topP || (filter.topK > 0 && ids.length >= filter.topK);
    if (!isEnough && threshold > floor) continue;
    ids.sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number) || a - b);
    return cut(probabilities, ids, filter);
  }
}

function cut(probabilities: Float32Array, sorted: number[], filter: TokenFilter): { ids: number[]; mass: number } {
  const limit = filter.topK > 0 ? Math.min(filter.topK, sorted.length) : sorted.length;
  let total = 1;
  if (filter.topK > 0) {
    total = 0;
    for (let i = 0; i < limit; i++) total += probabilities[sorted[i] as number] as number;
  }
  let mass = 0;
  let kept = 0;
  while (kept < limit && (kept === 0 || mass < filter.topP * total))
    mass += probabilities[sorted[kept++] as number] as number;
  return { ids: sorted.slice(0, kept), mass };
}

/**
 * The token that the uniform draw `u` in [0, 1) picks from `probabilities` [V] after top-k, then top-p (renormalised),
 * in the order that `transformers` applies them.
 */
export function chooseToken(probabilities: Float32Array, filter: TokenFilter, u: number): number {
  if (filter.topK === 0 && filter.topP >= 1) {
    let cumulative = 0;
    let lastPossible = 0;
    for (let id = 0; id < probabilities.length; id++) {
      const p = probabilities[id] as number;
      if (p === 0) continue;
      cumulative += p;
      lastPossible = id;
      if (cumulative > u) return id;
    }
    return lastPossible; // the fp32 probabilities sum to just under 1
  }
  const { ids, mass } = nucleus(probabilities, filter);
  let cumulative = 0;
  for (const id of ids) {
    cumulative += probabilities[id] as number;
    if (cumulative > u * mass) return id;
  }
  return ids.at(-1) as number;
}
