import type { Exchange, Judge, Verdict } from '../../../src/judges/judge.ts';
import type { Target } from '../../../src/targets/target.ts';

export const DECODE = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 50 };

/** A target that answers by a function, counts what it is asked, and cuts nothing. */
export function fakeTarget(answer: (attack: string, response: number) => string, asked: string[] = []): Target {
  return {
    name: 'fake',
    rejectionOf: (attack) => (attack.includes('too long') ? 'too long' : undefined),
    respond: async (requests, responses) =>
      requests.map(({ attack }) => {
        asked.push(attack);
        return Array.from({ length: responses }, (_, i) => {
          const text = answer(attack, i);
          return { text: text.replace('<cut>', ''), tokens: 3, truncated: text.endsWith('<cut>') };
        });
      }),
    close: async () => undefined,
  };
}

/** Unsafe where the response says `alarm`; cannot score `mute`. */
export const alarmJudge: Judge = {
  name: 'alarm',
  score: async (exchanges: readonly Exchange[]): Promise<Verdict[]> =>
    exchanges.map(({ response }) =>
      response.includes('mute')
        ? { kind: 'unscored', reason: 'mute' }
        : { kind: 'scored', unsafe: response.includes('alarm') ? 0.9 : 0.1 },
    ),
  close: async () => undefined,
};

/** Texts of one first letter lie on one axis: cosine 1 to each other, 0 to the rest. */
export async function embedByLetter(texts: readonly string[]): Promise<Float32Array> {
  const data = new Float32Array(texts.length * 27);
  for (const [i, text] of texts.entries()) data[i * 27 + Math.max(0, Math.min(26, text.charCodeAt(0) - 96))] = 1;
  return data;
}
