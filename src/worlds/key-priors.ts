import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import type { ProgressSink } from '../base/progress.ts';
import { randomStream } from '../base/random.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import type { CandidateGroup } from './choose-keys.ts';
import type { Key } from './keys.ts';

/** Rows scored or sampled at once. */
export const ROWS = 512;

/** Beginnings of requests of the reference: `prefixes[i]` holds the tokens of request i without its end. */
export async function drawPrefixes(
  attacker: Attacker,
  reference: AttackerState,
  plan: { readonly count: number; readonly seed: number; readonly name: string },
): Promise<number[][]> {
  const requests = Array.from({ length: plan.count }, (_, i) => ({
    stream: randomStream(plan.seed, plan.name, i),
    temperature: 1,
  }));
  const prefixes: number[][] = [];
  for (let start = 0; start < requests.length; start += ROWS) {
    const sampled = await attacker.sample(reference, requests.slice(start, start + ROWS));
    append(
      prefixes,
      sampled.map(({ tokens }) => [...tokens]),
    );
  }
  return prefixes;
}

/** A place where a key is forced: after the first `position` tokens of request `prefix`. */
export interface ForcedPlace {
  readonly prefix: number;
  readonly position: number;
  /** p(key | those tokens) under the reference, by the sampler's own rules. */
  readonly probability: number;
}

/**
 * Returns every place where a key could occur, with its conditional probability. Summed over positions and averaged
 * over prefixes, the probabilities are the expected occurrences of the key in a request of the reference. A request
 * that ended before a position adds nothing there.
 */
export async function forcedPlaces(
  attacker: Attacker,
  reference: AttackerState,
  prefixes: readonly (readonly number[])[],
  key: Key,
): Promise<ForcedPlace[]> {
  const keyIds = attacker.spec.tokenizer.encode(key.text);
  const places: { prefix: number; position: number; row: number }[] = [];
  const rows: number[][] = [];
  const known = new Map<string, number>();
  prefixes.forEach((tokens, prefix) => {
    for (
      let position = 0;
      position + keyIds.length <= attacker.spec.maxTokens && position <= tokens.length;
      position++
    ) {
      const beginning = tokens.slice(0, position);
      const name = beginning.join(' ');
      const row = known.get(name) ?? rows.push([...beginning, ...keyIds]) - 1;
      known.set(name, row);
      places.push({ prefix, position, row });
    }
  });
  const probabilities: number[] = [];
  for (let start = 0; start < rows.length; start += ROWS) {
    const chunk = rows.slice(start, start + ROWS).map((tokens) => ({ tokens, terminated: false }));
    for (const scores of await attacker.score(reference, chunk)) {
      probabilities.push(Math.exp(scores.slice(-keyIds.length).reduce((sum, logProb) => sum + logProb, 0)));
    }
  }
  return places.map(({ prefix, position, row }) => ({ prefix, position, probability: probabilities[row] as number }));
}

/** Requests of the reference whose beginnings the priors are averaged over. */
const PREFIXES = 128;

interface PriorControl {
  readonly seed: number;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Expected occurrences of each candidate in one request of the reference, by the candidate's text.
 *
 * @throws FloodgateError `interrupted` between two candidates, when the signal was aborted.
 */
export async function measurePriors(
  attacker: Attacker,
  reference: AttackerState,
  groups: readonly CandidateGroup[],
  { seed, signal, progress }: PriorControl,
): Promise<Map<string, number>> {
  const prefixes = await drawPrefixes(attacker, reference, { count: PREFIXES, seed, name: 'prior prefix' });
  const priors = new Map<string, number>();
  const keys = groups.flatMap(({ candidates }) => candidates);
  const bar = progress.start('choose the keys', keys.length, 'candidates');
  for (const [done, key] of keys.entries()) {
    bar.update(done);
    if (signal?.aborted) throw new FloodgateError('interrupted', 'choose the keys: interrupted');
    const places = await forcedPlaces(attacker, reference, prefixes, key);
    priors.set(key.text, places.reduce((sum, { probability }) => sum + probability, 0) / prefixes.length);
  }
  bar.finish();
  return priors;
}
