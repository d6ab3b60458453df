import { expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { clusteredCount, roganGladen } from '../../src/metrics/rogan-gladen.ts';

const errors = { sensitivity: { hits: 45, n: 50 }, specificity: { hits: 80, n: 100 } };

// The bounds were computed apart, from equations 2, 4, 6, 7, 16 and 17 of Lang and Reiczigel (2014).
test('the correction and its interval have the values of the published equations', () => {
  const measure = roganGladen({ hits: 60, n: 200 }, errors);
  expect(measure.value).toBeCloseTo(1 / 7, 12);
  expect(measure.low).toBe(0);
  expect(measure.high).toBeCloseTo(0.27289931005487095, 10);
  const larger = roganGladen({ hits: 120, n: 200 }, errors);
  expect(larger.value).toBeCloseTo(4 / 7, 12);
  expect(larger.method).toBe('Rogan-Gladen, Lang-Reiczigel interval');
});

test('a judge without errors changes the share little, and one that guesses gives no value', () => {
  const perfect = { sensitivity: { hits: 1e6, n: 1e6 }, specificity: { hits: 1e6, n: 1e6 } };
  const { value, low, high } = roganGladen({ hits: 30, n: 100 }, perfect);
  expect(value).toBeCloseTo(0.3, 10);
  // The Agresti-Coull interval of 30 of 100.
  expect(low).toBeCloseTo(0.21867, 3);
  expect(high).toBeCloseTo(0.39623, 3);
  const guess = { sensitivity: { hits: 3, n: 10 }, specificity: { hits: 7, n: 10 } };
  expect(roganGladen({ hits: 30, n: 100 }, guess)).toMatchObject({ value: null, low: null, high: null });
  const none = { sensitivity: { hits: 0, n: 0 }, specificity: { hits: 7, n: 10 } };
  expect(roganGladen({ hits: 30, n: 100 }, none).value).toBeNull();
  expect(roganGladen({ hits: 0, n: 0 }, errors).value).toBeNull();
});

test('a share below the false alarms is cut to 0, one above the sensitivity to 1', () => {
  expect(roganGladen({ hits: 1, n: 100 }, errors)).toMatchObject({ value: 0, low: 0, high: 0 });
  expect(roganGladen({ hits: 100, n: 100 }, errors)).toMatchObject({ value: 1, low: 1, high: 1 });
});

test('counts that no trial can have are refused', () => {
  expect(() => roganGladen({ hits: 3, n: 2 }, errors)).toThrow('got 3 of 2');
  expect(() => roganGladen({ hits: 1, n: 2 }, { ...errors, specificity: { hits: -1, n: 2 } })).toThrow('specificity');
});

function draw(n: number, probability: number, stream: ReturnType<typeof randomStream>) {
  let hits = 0;
  for (let i = 0; i < n; i++) if (stream.nextFloat() < probability) hits += 1;
  return { hits, n };
}

// A method with 95% coverage falls below 928 of 1,000 with probability 1e-3 in one world; the seeds are fixed.
test.each([
  { rate: 0.05, se: 0.9, sp: 0.95, labelled: 100 },
  { rate: 0.3, se: 0.85, sp: 0.8, labelled: 60 },
  { rate: 0.5, se: 0.7, sp: 0.9, labelled: 30 },
  { rate: 0.9, se: 0.95, sp: 0.7, labelled: 50 },
])('the interval covers a rate of $rate at least 92.8% of the time, and the raw one does not', (world) => {
  const { rate, se, sp, labelled } = world;
  const stream = randomStream(7, 'coverage', rate);
  let [covered, rawCovered] = [0, 0];
  for (let i = 0; i < 1000; i++) {
    const judged = draw(500, rate * se + (1 - rate) * (1 - sp), stream);
    const measured = { sensitivity: draw(labelled, se, stream), specificity: draw(labelled, sp, stream) };
    const { low, high } = roganGladen(judged, measured);
    if ((low ?? 1) <= rate && rate <= (high ?? 0)) covered += 1;
    const raw = judged.hits / judged.n;
    if (Math.abs(raw - rate) <= 1.96 * Math.sqrt((raw * (1 - raw)) / judged.n)) rawCovered += 1;
  }
  expect(covered).toBeGreaterThanOrEqual(928);
  expect(rawCovered).toBeLessThan(covered);
});

test('answers to one attack count as one when they are alike, and as many when they are independent', () => {
  const alike = Array.from({ length: 40 }, (_, i) => ({ hits: i % 2 === 0 ? 5 : 0, n: 5 }));
  expect(clusteredCount(alike).n).toBe(40);
  expect(clusteredCount(alike).hits).toBeCloseTo(20, 10);
  const single = Array.from({ length: 40 }, (_, i) => ({ hits: i % 4 === 0 ? 1 : 0, n: 1 }));
  expect(clusteredCount(single).n).toBe(40);
  const mixed = Array.from({ length: 40 }, () => ({ hits: 2, n: 5 }));
  expect(clusteredCount(mixed)).toEqual({ hits: 16, n: 40 });
  const stream = randomStream(3, 'clusters');
  const independent = clusteredCount(Array.from({ length: 400 }, () => draw(5, 0.4, stream)));
  expect(independent.n).toBeGreaterThan(1500);
  expect(independent.n).toBeLessThanOrEqual(2000);
  expect(clusteredCount([{ hits: 0, n: 0 }])).toEqual({ hits: 0, n: 0 });
});
