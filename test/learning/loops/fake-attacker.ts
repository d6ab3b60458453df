import type { AttackTokens, SampledAttack } from '../../../src/learning/attack.ts';
import type { Attacker, AttackerState, DrawRequest } from '../../../src/learning/attacker.ts';

/** Id of the end token; words are below it. */
const END = 9;
const WORDS = 5;
const MIN_TOKENS = 2;
const MAX_TOKENS = 5;

/** log p of a token by its id and place, so that every sequence has its own probability. */
const logProbOf = (token: number, position: number): number => -(1 + token / 4 + position / 8);

export interface FakeAttacker {
  readonly attacker: Attacker;
  /** Temperature of every attack drawn so far, in order. */
  readonly temperatures: number[];
  /** Rows of every call that sampled or scored. */
  readonly batches: number[];
}

/** An attacker without a model: it draws words from the request's stream, and scores them by `logProbOf`. */
export function fakeAttacker(): FakeAttacker {
  const temperatures: number[] = [];
  const batches: number[] = [];
  const rowOf = ({ tokens, terminated }: AttackTokens): number[] => (terminated ? [...tokens, END] : [...tokens]);
  const textOf = (tokens: readonly number[]): string => tokens.map((token) => 'abcde'[token]).join(' ');
  const score = (attack: AttackTokens, withEnd: boolean): Float32Array => {
    const row = withEnd && !attack.terminated ? [...attack.tokens, END] : rowOf(attack);
    return Float32Array.from(row, logProbOf);
  };
  const fake = {
    cells: [undefined],
    promptOf: () => [0],
    endId: END,
    spec: { minTokens: MIN_TOKENS, maxTokens: MAX_TOKENS },
    stateOf: () => ({}),
    rowOf,
    textOf,
    sample: async (_state: AttackerState, requests: readonly DrawRequest[]): Promise<SampledAttack[]> => {
      batches.push(requests.length);
      temperatures.push(...requests.map(({ temperature }) => temperature));
      return requests.map(({ stream, kept, cell }) => {
        const length = kept?.length ?? MIN_TOKENS + stream.nextInt(MAX_TOKENS - MIN_TOKENS + 1);
        const tokens = Array.from({ length }, (_, t) => kept?.[t] ?? stream.nextInt(WORDS));
        const attack = { tokens, terminated: length < MAX_TOKENS, ...(cell === undefined ? {} : { cell }) };
        const logPi = score(attack, false).reduce((sum, logProb) => sum + logProb, 0);
        return { ...attack, source: 'fresh', text: textOf(tokens), logPi };
      });
    },
    score: async (_state: AttackerState, attacks: readonly AttackTokens[], withEnd = false) => {
      batches.push(attacks.length);
      return attacks.map((attack) => score(attack, withEnd));
    },
  };
  return { attacker: fake as unknown as Attacker, temperatures, batches };
}
