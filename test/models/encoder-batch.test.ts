import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { padBatch, planBatches, runInBatches } from '../../src/models/encoder/encoder-input.ts';
import { meanOverTokens, normaliseRows } from '../../src/models/encoder/open-onnx.ts';

const lengths = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 512 }), { maxLength: 300 }),
  fc.array(fc.integer({ min: 400, max: 512 }), { minLength: 15, maxLength: 70 }), // where the bound of tokens binds
);

describe('batches', () => {
  it('hold every row once, within the bounds of rows and padded tokens', () => {
    fc.assert(
      fc.property(lengths, (all) => {
        const batches = planBatches(all);
        expect(batches.flat().sort((a, b) => a - b)).toEqual(all.map((_, i) => i));
        for (const batch of batches) {
          const longest = Math.max(...batch.map((i) => all[i] as number));
          expect(batch.length).toBeLessThanOrEqual(64);
          expect(batch.length === 1 || batch.length * longest <= 8192).toBe(true);
        }
      }),
    );
  });

  it('pad no more than rows in any other order would', () => {
    fc.assert(
      fc.property(lengths, (all) => {
        const spans = planBatches(all).map((batch) => batch.map((i) => all[i] as number));
        for (const [i, next] of spans.slice(1).entries()) {
          expect(Math.min(...(spans[i] as number[]))).toBeGreaterThanOrEqual(Math.max(...next));
        }
      }),
    );
  });

  it('come back in the order of the inputs', async () => {
    const inputs = [3, 1, 7, 2].map((length) => ({ ids: Array(length).fill(5), tokenTypes: Array(length).fill(0) }));
    const counts = await runInBatches(inputs, { padId: 0, width: 1 }, async ({ rows, tokens, mask }) =>
      Float32Array.from({ length: rows }, (_, row) =>
        mask.slice(row * tokens, (row + 1) * tokens).reduce((sum, m) => sum + m, 0),
      ),
    );
    expect([...counts]).toEqual([3, 1, 7, 2]);
  });

  it('are padded on the right', () => {
    const batch = padBatch(
      [
        { ids: [4, 5], tokenTypes: [0, 1] },
        { ids: [6], tokenTypes: [0] },
      ],
      9,
    );
    expect(batch).toEqual({ rows: 2, tokens: 2, ids: [4, 5, 6, 9], mask: [1, 1, 1, 0], tokenTypes: [0, 1, 0, 0] });
  });
});

describe('mean pooling outside the graph', () => {
  it('leaves padding out and scales to length 1', () => {
    const batch = padBatch(
      [
        { ids: [1, 1], tokenTypes: [0, 0] },
        { ids: [1], tokenTypes: [0] },
      ],
      0,
    );
    const means = meanOverTokens(Float32Array.of(3, 0, 3, 8, 0, 2, 99, 99), batch, 2);
    expect([...means]).toEqual([3, 4, 0, 2]);
    expect([...normaliseRows(means, 2)].map((x) => Math.round(x * 1e6) / 1e6)).toEqual([0.6, 0.8, 0, 1]);
    expect([...normaliseRows(new Float32Array(2), 2)]).toEqual([0, 0]);
  });
});
