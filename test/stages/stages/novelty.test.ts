import { expect, test } from 'vitest';
import { createNoveltyMeter, type NoveltyState } from '../../../src/stages/novelty.ts';
import { hashedEncoder } from '../../support/hashed-encoder.ts';

const encoder = hashedEncoder(8);

/** Mean cosine by its definition: one dot product with every earlier text. */
async function meanCosine(text: string, history: readonly string[]): Promise<number> {
  const [own, ...others] = await Promise.all([text, ...history].map((one) => encoder.embed([one])));
  const dots = others.map((other) => other.reduce((sum, x, i) => sum + x * (own?.[i] as number), 0));
  return dots.reduce((sum, dot) => sum + dot, 0) / dots.length;
}

test('similarity to the history: mean cosine and BLEU against what earlier groups wrote, doubles counted', async () => {
  const meter = createNoveltyMeter({ encoder, groupSize: 2 });
  const texts = ['a red sun', 'a blue sun', 'a red sun', 'green trees', 'a blue sun'];
  const found = await meter.measure(texts);
  expect(found.slice(0, 2)).toEqual([
    { selfBleu: 0, cosine: 0 },
    { selfBleu: 0, cosine: 0 },
  ]);
  expect(found[2]?.selfBleu).toBeGreaterThan(found[3]?.selfBleu as number);
  expect(found[3]?.selfBleu).toBe(0);
  expect(found[2]?.cosine).toBeCloseTo(await meanCosine('a red sun', texts.slice(0, 2)), 6);
  expect(found[4]?.cosine).toBeCloseTo(await meanCosine('a blue sun', texts.slice(0, 4)), 6);
  expect((meter.state() as NoveltyState).count).toBe(5);
});

test('a restored history measures as the one that was saved', async () => {
  const whole = createNoveltyMeter({ encoder, groupSize: 3 });
  const texts = ['one', 'two words', 'three words here', 'one'];
  await whole.measure(texts);
  const state = JSON.parse(JSON.stringify(whole.state())) as NoveltyState;
  const again = createNoveltyMeter({ encoder, groupSize: 3, restored: { state, texts } });
  const next = ['one', 'words here', 'new'];
  expect(await again.measure(next)).toEqual(await whole.measure(next));
  expect(again.state()).toEqual(whole.state());
});
