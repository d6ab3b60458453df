import type { Exchange, Judge, Verdict } from '../../../src/judges/judge.ts';
import type { Target, TargetAnswer } from '../../../src/targets/target.ts';

export const DECODE = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 50 };

/** Answers by a function, with `<cut>` at the end of a truncated one; an attack that is `too long` cannot be asked. */
export function fakeTarget(answer: (attack: string, response: number) => string, asked: string[] = []): Target {
  const answerOf = (attack: string, i: number): TargetAnswer => {
    if (attack.includes('too long')) return { kind: 'failed', reason: 'too long', usage: { calls: 0, tokens: 0 } };
    const text = answer(attack, i);
    const truncated = text.endsWith('<cut>');
    return { kind: 'text', text: text.replace('<cut>', ''), truncated, usage: { calls: 1, tokens: 3 } };
  };
  return {
    name: 'fake',
    ask: async (requests, { responses }) =>
      requests.map(({ attack }) => {
        asked.push(attack);
        return Array.from({ length: responses }, (_, i) => answerOf(attack, i));
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

/** Texts of one first letter share an axis: cosine 1 to each other, 0 to the rest. */
export async function embedByLetter(texts: readonly string[]): Promise<Float32Array> {
  const data = new Float32Array(texts.length * 27);
  for (const [i, text] of texts.entries()) data[i * 27 + Math.max(0, Math.min(26, text.charCodeAt(0) - 96))] = 1;
  return data;
}
