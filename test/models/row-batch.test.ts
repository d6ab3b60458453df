import fc from 'fast-check';
import { expect, it } from 'vitest';
import { groupRows } from '../../src/models/decoder/row-batch.ts';

it('cuts rows into groups in order, within both limits, and no smaller than need be', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 60 });
  const limits = fc.record({ maxRows: fc.integer({ min: 1, max: 12 }), maxTokens: fc.integer({ min: 1, max: 120 }) });
  const fits = (group: readonly number[], { maxRows, maxTokens }: { maxRows: number; maxTokens: number }) =>
    group.length <= maxRows && group.length * Math.max(...group) <= maxTokens;
  fc.assert(
    fc.property(lengths, limits, (rows, limit) => {
      const groups = groupRows(rows, limit);
      expect(groups.flatMap(([start, end]) => rows.slice(start, end))).toEqual(rows);
      for (const [start, end] of groups) {
        expect(end - start === 1 || fits(rows.slice(start, end), limit)).toBe(true);
        if (end < rows.length) expect(fits(rows.slice(start, end + 1), limit)).toBe(false);
      }
    }),
  );
});
