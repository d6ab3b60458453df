import { describe, expect, test } from 'vitest';
import { randomStream } from '../../../src/base/random.ts';
import { CellCalls, type CellRule } from '../../../src/learning/loops/cell-calls.ts';

const CELLS = ['a', 'b', 'c'];
const callsOf = (rule: CellRule, saved?: unknown) => new CellCalls(CELLS, { rule, seed: 1 }, saved);

/** Cells of `batches` batches of 10 attacks, of which each cell finds so many new wordings. */
function drawn(calls: CellCalls, batches: number, founded: Readonly<Record<string, number>>): string[] {
  return Array.from({ length: batches }, (_, update) => {
    const cell = calls.next(update, []);
    calls.observe(cell, { tried: 10, founded: founded[cell] ?? 0 });
    return cell;
  });
}

const countOf = (cells: readonly string[], cell: string): number => cells.filter((each) => each === cell).length;

describe('calls by Thompson sampling', () => {
  test('give every cell one batch first, then most to the cell that yields', () => {
    const cells = drawn(callsOf('thompson'), 60, { b: 8, c: 1 });
    expect(cells.slice(0, 3)).toEqual(CELLS);
    expect(countOf(cells, 'b')).toBeGreaterThan(50);
  });

  test('follow a cell that has run dry to the others', () => {
    const calls = callsOf('thompson');
    drawn(calls, 12, { b: 5 });
    const later = Array.from({ length: 200 }, (_, i) => {
      const cell = calls.next(100 + i, []);
      calls.observe(cell, { tried: 10, founded: cell === 'c' ? 4 : 0 });
      return cell;
    });
    expect(countOf(later.slice(100), 'c')).toBeGreaterThan(90);
  });

  test('try cells that yield the same about as often', () => {
    const cells = Array.from({ length: 40 }, (_, seed) => {
      return drawn(new CellCalls(CELLS, { rule: 'thompson', seed }), 30, { a: 3, b: 3, c: 3 });
    }).flat();
    for (const cell of CELLS) expect(countOf(cells, cell) / cells.length).toBeCloseTo(1 / 3, 1);
  });

  test('count batches under way among the first ones', () => {
    const calls = callsOf('thompson');
    expect([calls.next(0, []), calls.next(1, ['a']), calls.next(2, ['a', 'b'])]).toEqual(CELLS);
  });
});

test('equal calls take the cells in turn, whatever they yield', () => {
  expect(drawn(callsOf('equal'), 7, { b: 10 })).toEqual(['a', 'b', 'c', 'a', 'b', 'c', 'a']);
});

test('a restored state draws on as the original', () => {
  const calls = callsOf('thompson');
  drawn(calls, 9, { a: 1, c: 5 });
  const restored = callsOf('thompson', JSON.parse(JSON.stringify(calls.state())));
  expect(drawn(restored, 20, { a: 4 })).toEqual(drawn(calls, 20, { a: 4 }));
  expect(restored.state()).toEqual(calls.state());
});

test.each([
  ['of fewer cells', [{ batches: 1, tried: 1, founded: 0 }]],
  ['with more new wordings than attacks', CELLS.map(() => ({ batches: 1, tried: 1, founded: 2 }))],
  ['with a negative count', CELLS.map(() => ({ batches: 1, tried: -1, founded: 0 }))],
  ['of another form', { a: 1 }],
])('a saved state %s is refused', (_what, saved) => {
  expect(() => callsOf('thompson', saved)).toThrow(/restore cells/);
});

test('Beta draws have the mean and the variance of their distribution', () => {
  const stream = randomStream(3, 'beta');
  for (const [a, b] of [
    [1, 1],
    [3, 1],
    [40, 160],
  ] as const) {
    const draws = Array.from({ length: 20_000 }, () => stream.nextBeta(a, b));
    const mean = draws.reduce((sum, value) => sum + value, 0) / draws.length;
    const variance = draws.reduce((sum, value) => sum + (value - mean) ** 2, 0) / draws.length;
    const exact = (a * b) / ((a + b) ** 2 * (a + b + 1));
    expect(mean).toBeCloseTo(a / (a + b), 2);
    expect(variance / exact).toBeCloseTo(1, 1);
    expect(draws.every((value) => value > 0 && value < 1)).toBe(true);
  }
});
