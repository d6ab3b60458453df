import { randomStream } from '../base/random.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import type { PlantedKey } from './choose-keys.ts';
import { drawPrefixes, type ForcedPlace, forcedPlaces, ROWS } from './key-priors.ts';
import { createKeyFinder, occurrences, wordsOf } from './keys.ts';

const PREFIXES = 16;
const EVALUATIONS = 32;
const KEYLESS = 768;

/** The world of a posterior, before any target. */
export interface PosteriorSource {
  readonly attacker: Attacker;
  readonly reference: AttackerState;
  readonly keys: readonly PlantedKey[];
  readonly seed: number;
}

/** The requests of every replicate. They depend on no target, so several targets can be weighed on the same. */
export interface PosteriorDrafts {
  readonly source: PosteriorSource;
  /** Drawn when first asked for, then kept. */
  of(replicate: number): Promise<readonly Draft[]>;
}

/** Returns the drafts of a posterior; draws nothing yet. */
export function draftPosterior(source: PosteriorSource): PosteriorDrafts {
  const drawn = new Map<number, Promise<readonly Draft[]>>();
  const draw = async (replicate: number): Promise<readonly Draft[]> => {
    const input = { ...source, replicate };
    return [...(await forcedDrafts(input)), ...(await keylessDrafts(input))];
  };
  return {
    source,
    of: (replicate) => {
      const drafts = drawn.get(replicate) ?? draw(replicate);
      drawn.set(replicate, drafts);
      return drafts;
    },
  };
}

interface ReplicateInput extends PosteriorSource {
  readonly replicate: number;
}

/** One request of a replicate. */
export interface Draft {
  readonly tokens: readonly number[];
  readonly terminated: boolean;
  readonly text: string;
  /** Prior mass that this request represents. */
  readonly prior: number;
  /** Key that was forced; undefined for a plain sample. */
  readonly key: number | undefined;
}

/** Requests with each key forced in: places drawn by their probability, so that all represent the same prior mass. */
async function forcedDrafts(input: ReplicateInput): Promise<Draft[]> {
  const { attacker, reference, keys, seed, replicate } = input;
  const prefixes = await drawPrefixes(attacker, reference, {
    count: PREFIXES,
    seed,
    name: `posterior prefix ${replicate}`,
  });
  const requests: { beginning: number[]; key: number; prior: number }[] = [];
  const placesOfKeys = await forcedPlaces(attacker, reference, prefixes, keys);
  for (const [index, key] of keys.entries()) {
    const places = placesOfKeys[index] as ForcedPlace[];
    const total = places.reduce((sum, { probability }) => sum + probability, 0);
    const ids = attacker.spec.tokenizer.encode(key.text);
    // Systematic draw: one uniform, equal steps through the cumulated probabilities.
    const step = total / EVALUATIONS;
    let next = randomStream(seed, 'posterior places', replicate, index).nextFloat() * step;
    let cumulated = 0;
    for (const { prefix, position, probability } of places) {
      cumulated += probability;
      for (; next < cumulated; next += step) {
        const beginning = [...(prefixes[prefix] as number[]).slice(0, position), ...ids];
        requests.push({ beginning, key: index, prior: total / PREFIXES / EVALUATIONS });
      }
    }
  }
  return completeAll(input, requests);
}

/** Completes every beginning, those of one length together. */
async function completeAll(
  { attacker, reference, keys, seed, replicate }: ReplicateInput,
  requests: readonly { readonly beginning: number[]; readonly key: number; readonly prior: number }[],
): Promise<Draft[]> {
  const finder = createKeyFinder(keys);
  const drafts: Draft[] = [];
  const lengths = [...new Set(requests.map(({ beginning }) => beginning.length))].sort((a, b) => a - b);
  for (const length of lengths) {
    const same = requests.filter(({ beginning }) => beginning.length === length);
    for (let start = 0; start < same.length; start += ROWS) {
      const chunk = same.slice(start, start + ROWS);
      const done =
        length === attacker.spec.maxTokens
          ? chunk.map(({ beginning }) => ({ tokens: beginning, terminated: false, text: attacker.textOf(beginning) }))
          : await attacker.complete(
              reference,
              chunk.map(({ beginning }, i) => ({
                beginning,
                stream: randomStream(seed, 'posterior completion', replicate, length, start + i),
              })),
            );
      done.forEach(({ tokens, terminated, text }, i) => {
        const { key, prior } = chunk[i] as (typeof chunk)[number];
        const words = wordsOf(text);
        const share = occurrences(words, keys[key] as PlantedKey) * finder.heldBy(words).length;
        drafts.push({ tokens, terminated, text, key, prior: prior / share });
      });
    }
  }
  return drafts;
}

async function keylessDrafts({ attacker, reference, keys, seed, replicate }: ReplicateInput): Promise<Draft[]> {
  const finder = createKeyFinder(keys);
  const drafts: Draft[] = [];
  for (let start = 0; start < KEYLESS; start += ROWS) {
    const requests = Array.from({ length: Math.min(ROWS, KEYLESS - start) }, (_, i) => ({
      stream: randomStream(seed, 'keyless request', replicate, start + i),
      temperature: 1,
    }));
    for (const { tokens, terminated, text } of await attacker.sample(reference, requests)) {
      if (finder.heldBy(wordsOf(text)).length > 0) continue;
      drafts.push({ tokens, terminated, text, key: undefined, prior: 1 / KEYLESS });
    }
  }
  return drafts;
}
