import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';

const GOLDEN = new URL('../golden/judges/', import.meta.url);

interface GoldenScores {
  readonly seed: number;
  readonly texts: number;
  readonly sha256: string;
  readonly float32: string;
}

function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, GOLDEN), 'utf8')) as T;
}

/** The texts of scripts/golden/judges.py, made again by the same 32-bit xorshift generator. */
function makeTexts(seed: number, count: number): string[] {
  const lists = readGolden<Record<'polite' | 'rude' | 'odd' | 'separators', string[]>>('words.json');
  let state = seed;
  const below = (bound: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
  const pick = (list: readonly string[]): string => list[below(list.length)] as string;
  const texts: string[] = [];
  for (let i = 0; i < count; i++) {
    const length = i % 50 === 0 ? 90 + below(90) : below(24);
    let text = '';
    for (let piece = 0; piece < length; piece++) {
      const kind = below(20);
      const word = pick(kind < 3 ? lists.rude : kind < 5 ? lists.odd : lists.polite);
      text += below(8) === 0 ? word.toUpperCase() : word;
      text += pick(lists.separators);
    }
    texts.push(text);
  }
  return texts;
}

/** The golden texts and the original's scores, [texts * columns]; fails when a text is not the one that was scored. */
export function goldenScores(name: string): { texts: string[]; scores: Float32Array } {
  const golden = readGolden<GoldenScores>(name);
  const texts = makeTexts(golden.seed, golden.texts);
  expect(createHash('sha256').update(texts.join('\0')).digest('hex')).toBe(golden.sha256);
  const bytes = Uint8Array.from(Buffer.from(golden.float32, 'base64'));
  return { texts, scores: new Float32Array(bytes.buffer) };
}
