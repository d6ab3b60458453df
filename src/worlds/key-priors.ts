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
 * Returns every place where each key could occur, with its conditional probability. Summed over positions and averaged
 * over prefixes, the probabilities are the expected occurrences of the key in a request of the reference. A request
 * that ended before a position adds nothing there. Rows of all keys are scored together, those of one length at once.
 */
export async function forcedPlaces(
  attacker: Attacker,
  reference: AttackerState,
  prefixes: readonly (readonly number[])[],
  keys: readonly Key[],
): Promise<ForcedPlace[][]> {
  const rows: ForcedRow[] = [];
  const placesOfKeys = keys.map(({ text }) => {
    const keyIds = attacker.spec.tokenizer.encode(text);
    const known = new Map<string, ForcedRow>();
    return prefixes.flatMap((tokens, prefix) => {
      const last = Math.min(attacker.spec.maxTokens - keyIds.length, tokens.length);
      return Array.from({ length: last + 1 }, (_, position) => {
        const beginning = tokens.slice(0, position);
        const name = beginning.join(' ');
        const found = known.get(name);
        if (found !== undefined) return { prefix, position, row: found };
        const row = { tokens: [...beginning, ...keyIds], forced: keyIds.length, probability: 0 };
        rows.push(row);
        known.set(name, row);
        return { prefix, position, row };
      });
    });
  });
  rows.sort((a, b) => a.tokens.length - b.tokens.length);
  for (let start = 0; start < rows.length; start += ROWS) {
    const chunk = rows.slice(start, start + ROWS);
    const scored = await attacker.score(
      reference,
      chunk.map(({ tokens }) => ({ tokens, terminated: false })),
    );
    scored.forEach((scores, i) => {
      const row = chunk[i] as ForcedRow;
      row.probability = Math.exp(scores.slice(-row.forced).reduce((sum, logProb) => sum + logProb, 0));
    });
  }
  return placesOfKeys.map((places) =>
    places.map(({ prefix, position, row }) => ({ prefix, position, probability: row.probability })),
  );
}

/** A beginning with a key behind it. */
interface ForcedRow {
  readonly tokens: readonly number[];
  /** Tokens of the key. */
  readonly forced: number;
  /** p(key | beginning), once it is scored. */
  probability: number;
}

/** Requests of the reference whose beginnings the priors are averaged over. */
const PREFIXES = 128;
/** Candidates measured at once: Ctrl-C is heard between two such groups. */
const KEYS = 8;

interface PriorControl {
  readonly seed: number;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Expected occurrences of each candidate in one request of the reference, by the candidate's text.
 *
 * @throws FloodgateError `interrupted` between two groups of candidates, when the signal was aborted.
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
  for (let done = 0; done < keys.length; done += KEYS) {
    bar.update(done);
    if (signal?.aborted) throw new FloodgateError('interrupted', 'choose the keys: interrupted');
    const some = keys.slice(done, done + KEYS);
    for (const [i, places] of (await forcedPlaces(attacker, reference, prefixes, some)).entries()) {
      const expected = places.reduce((sum, { probability }) => sum + probability, 0) / prefixes.length;
      priors.set((some[i] as Key).text, expected);
    }
  }
  bar.finish();
  return priors;
}
