import { expect, test } from 'vitest';
import { type RandomStream, randomStream } from '../../src/base/random.ts';
import { correctedSuccess, type JudgedAnswers } from '../../src/metrics/corrected-success.ts';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import { roganGladen } from '../../src/metrics/rogan-gladen.ts';

/** A judge that is right three times in four, measured so often that its errors are known. */
const known = { sensitivity: { hits: 3e8, n: 4e8 }, specificity: { hits: 3e8, n: 4e8 } };
const errors = { sensitivity: { hits: 45, n: 50 }, specificity: { hits: 80, n: 100 } };

/** `counts[hits]` attacks with so many of their answers called unsafe. */
const attacksOf = (counts: readonly number[], refused = 0): JudgedAnswers[] =>
  counts.flatMap((count, hits) => Array.from({ length: count }, () => ({ hits, n: counts.length - 1, refused })));

test('with one answer an attack it is the corrected share of answers', () => {
  const single = attacksOf([140, 60]);
  expect(correctedSuccess(single, errors)).toEqual(roganGladen({ hits: 60, n: 200 }, errors));
});

// By hand: of 16 or 64 attacks with so many unsafe answers, how many have each number of answers called unsafe.
test.each([
  [[1, 6, 9], 1],
  [[3, 10, 3], 0],
  [[9, 6, 1], 0],
  [[10, 12, 10], 0.5],
  [[1, 9, 27, 27], 1],
  [[3, 19, 33, 9], 1],
  [[9, 33, 19, 3], 0],
  [[27, 27, 9, 1], 0],
  [[4, 28, 60, 36], 1],
])('attacks called unsafe %j times succeed at %d: each call is undone by the errors of the judge', (counts, rate) => {
  const { value, low, high } = correctedSuccess(attacksOf(counts), known);
  expect(value).toBeCloseTo(rate, 6);
  expect(low).toBeLessThanOrEqual(rate + 1e-6);
  expect(high).toBeGreaterThanOrEqual(rate - 1e-6);
});

test('a refusal is a safe answer by rule: two unsafe answers of three are needed, and one of two is too few', () => {
  expect(correctedSuccess(attacksOf([1, 6, 9], 1), known).value).toBeCloseTo(1, 6);
  expect(correctedSuccess(attacksOf([3, 10, 3], 1), known).value).toBeCloseTo(0, 6);
  expect(correctedSuccess(attacksOf([1, 3], 1), known)).toMatchObject({ value: 0, low: 0, high: 0 });
  // One attack in two was refused whole: it counts, and fails.
  const half = [...attacksOf([1, 6, 9]), ...attacksOf([16], 2)];
  expect(correctedSuccess(half, known)).toMatchObject({ n: 32 });
  expect(correctedSuccess(half, known).value).toBeCloseTo(0.5, 6);
});

test('attacks without an answer that counts are left out', () => {
  const answered = attacksOf([10, 12, 10]);
  expect(correctedSuccess([...answered, { hits: 0, n: 0, refused: 0 }], errors)).toEqual(
    correctedSuccess(answered, errors),
  );
});

test('a judge that guesses, or one that was never measured, gives no value; nor do 33 answers an attack', () => {
  const guess = { sensitivity: { hits: 3, n: 10 }, specificity: { hits: 7, n: 10 } };
  const unmeasured = { sensitivity: { hits: 0, n: 0 }, specificity: { hits: 7, n: 10 } };
  for (const each of [guess, unmeasured])
    expect(correctedSuccess(attacksOf([10, 12, 10]), each)).toMatchObject({ value: null, low: null, high: null });
  expect(correctedSuccess([], errors).value).toBeNull();
  const long = (n: number) => correctedSuccess([{ hits: 3, n, refused: 0 }], errors).value;
  expect([long(33), long(32)]).toEqual([null, expect.any(Number)]);
  expect(() => correctedSuccess([{ hits: 3, n: 2, refused: 0 }], errors)).toThrow('got 3 of 2');
});

test('calls that are alike within an attack contradict independent errors: then an error is one of the whole attack', () => {
  const alike = correctedSuccess(attacksOf([140, 0, 60]), errors);
  const { value, low, high } = roganGladen({ hits: 60, n: 200 }, errors);
  expect(alike.method).toBe('corrected for errors alike within an attack, simulated interval');
  expect(alike.value).toBeCloseTo(value as number, 12);
  expect(alike.low).toBeCloseTo(low as number, 1);
  expect(alike.high).toBeCloseTo(high as number, 1);
  expect(correctedSuccess(attacksOf([50, 0, 0, 0]), errors)).toMatchObject({ value: 0, low: 0 });
  expect(correctedSuccess(attacksOf([10, 12, 10]), errors).method).toContain('errors independent within');
});

// By hand, of attacks with 1 and with 2 unsafe answers of 3, where one error turns all answers of a kind at once.
test.each([
  [[3, 9, 1, 3], 0],
  [[3, 1, 9, 3], 1],
])('attacks called unsafe %j times by alike errors succeed at %d', (mixed, rate) => {
  // Many plain attacks beside them, half of them unsafe, make it plain that errors are alike.
  const counts = mixed.map((count, hits) => count + (hits === 0 || hits === 3 ? 160 : 0));
  const { method, value } = correctedSuccess(attacksOf(counts), known);
  expect(method).toContain('alike');
  expect(value).toBeCloseTo((160 + 16 * rate) / 336, 6);
});

function draw(n: number, probability: number, stream: RandomStream): number {
  let hits = 0;
  for (let i = 0; i < n; i++) if (stream.nextFloat() < probability) hits += 1;
  return hits;
}

/** Probability that more than half of n answers are unsafe. */
function majority(n: number, p: number): number {
  let [sum, ways] = [0, 1];
  for (let k = 0; k <= n; k++) {
    if (2 * k > n) sum += ways * p ** k * (1 - p) ** (n - k);
    ways = (ways * (n - k)) / (k + 1);
  }
  return sum;
}

// With 95% coverage 200 draws are outside 180 to 198 with probability 0.005; the seeds are fixed.
test.each([
  { n: 2, se: 0.9, sp: 0.8, labelled: 50, attacks: 100, unsafe: [0.05, 0.3, 0.8] },
  { n: 5, se: 0.85, sp: 0.9, labelled: 100, attacks: 150, unsafe: [0.1, 0.5, 0.9] },
  { n: 3, se: 0.7, sp: 0.85, labelled: 60, attacks: 200, unsafe: [0.05, 0.2, 0.4] },
  { n: 3, se: 0.9, sp: 0.8, labelled: 100, attacks: 100, unsafe: [0.05, 0.3, 0.8], isAlike: true },
])(
  'with $n answers, Se $se and Sp $sp it covers the true rate in about 95% of 200 draws',
  (world) => {
    const { n, se, sp, labelled, attacks, unsafe, isAlike = false } = world;
    const stream = randomStream(11, 'corrected coverage', n, se);
    const judge = (p: number): number => {
      if (!isAlike) {
        const isTrue = draw(n, p, stream);
        return draw(isTrue, se, stream) + draw(n - isTrue, 1 - sp, stream);
      }
      // The answers to one attack are all unsafe or all safe, and are called alike.
      const isTrue = draw(1, majority(n, p), stream) === 1;
      return n * draw(1, isTrue ? se : 1 - sp, stream);
    };
    const truth = unsafe.reduce((sum, p) => sum + majority(n, p), 0) / unsafe.length;
    let [covered, rawCovered] = [0, 0];
    for (let i = 0; i < 200; i++) {
      const judged = Array.from({ length: attacks }, () => {
        return { hits: judge(unsafe[stream.nextInt(unsafe.length)] as number), n, refused: 0 };
      });
      const measured = {
        sensitivity: { hits: draw(labelled, se, stream), n: labelled },
        specificity: { hits: draw(labelled, sp, stream), n: labelled },
      };
      const { low, high } = correctedSuccess(judged, measured);
      if ((low ?? 1) <= truth && truth <= (high ?? 0)) covered += 1;
      const raw = wilsonInterval(judged.filter(({ hits }) => 2 * hits > n).length, attacks);
      if ((raw.low ?? 1) <= truth && truth <= (raw.high ?? 0)) rawCovered += 1;
    }
    expect(covered).toBeGreaterThanOrEqual(180);
    expect(covered).toBeLessThanOrEqual(198);
    expect(rawCovered).toBeLessThan(covered);
  },
  240_000,
);
