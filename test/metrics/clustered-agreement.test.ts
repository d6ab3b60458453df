import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { clusteredAgreement, type DecisionCounts } from '../../src/metrics/judge-agreement.ts';

const one = (key: keyof DecisionCounts): DecisionCounts => ({
  both: 0,
  onlyFirst: 0,
  onlySecond: 0,
  neither: 0,
  [key]: 1,
});
const several = (counts: DecisionCounts): DecisionCounts[] =>
  (Object.keys(counts) as (keyof DecisionCounts)[]).flatMap((key) =>
    Array.from({ length: counts[key] }, () => one(key)),
  );

describe('clusteredAgreement', () => {
  it("is Cohen's kappa of the whole, with an interval like the closed form for independent answers", () => {
    // The example of Cohen's kappa in textbooks: 50 cases, agreement 0.7, by chance 0.5.
    const { counts, agreement, kappa } = clusteredAgreement(
      several({ both: 20, onlyFirst: 5, onlySecond: 10, neither: 15 }),
    );
    expect(counts).toEqual({ both: 20, onlyFirst: 5, onlySecond: 10, neither: 15 });
    expect(agreement).toMatchObject({ value: 0.7, n: 50 });
    expect(kappa.value).toBeCloseTo(0.4, 12);
    // sqrt(0.7 * 0.3 / (50 * 0.5 ** 2)) = 0.1296 by the simple formula of Cohen 1960.
    expect(kappa.low).toBeGreaterThan(0.4 - 1.96 * 0.1296 - 0.06);
    expect(kappa.low).toBeLessThan(0.4 - 1.96 * 0.1296 + 0.06);
    expect(kappa.high).toBeGreaterThan(0.4 + 1.96 * 0.1296 - 0.06);
    expect(kappa.high).toBeLessThan(0.4 + 1.96 * 0.1296 + 0.06);
  });

  it('is no surer for answers that repeat each other', () => {
    const counts = { both: 20, onlyFirst: 5, onlySecond: 10, neither: 15 };
    const width = ({ low, high }: { low: number | null; high: number | null }) => (high ?? 0) - (low ?? 0);
    const single = clusteredAgreement(several(counts));
    const tripled = several(counts).map((each) => ({
      both: 3 * each.both,
      onlyFirst: 3 * each.onlyFirst,
      onlySecond: 3 * each.onlySecond,
      neither: 3 * each.neither,
    }));
    const repeated = clusteredAgreement(tripled);
    expect(repeated.kappa.value).toBeCloseTo(0.4, 12);
    expect(width(repeated.kappa)).toBeCloseTo(width(single.kappa), 12); // the same draws of attacks
    expect(width(repeated.agreement)).toBeCloseTo(width(single.agreement), 2);
    expect(repeated.agreement).toMatchObject({ value: expect.closeTo(0.7, 12), n: 150 });
  });

  it('has no interval where nothing differs, and no value where there is nothing to agree on', () => {
    const perfect = clusteredAgreement(several({ both: 5, onlyFirst: 0, onlySecond: 0, neither: 5 }));
    expect(perfect.kappa).toMatchObject({ value: 1, low: null, high: null });
    expect(perfect.agreement.low).toBeLessThan(1);
    const constant = clusteredAgreement(several({ both: 0, onlyFirst: 0, onlySecond: 0, neither: 5 }));
    expect(constant.kappa.value).toBeNull();
    const empty = clusteredAgreement([]);
    expect([empty.kappa.value, empty.agreement.value]).toEqual([null, null]);
  });

  it('covers the true kappa of two judges in about 95 of 100 runs', () => {
    // A true share of 0.4; each judge errs in 15 of 100 answers, independently of the other.
    const [share, error] = [0.4, 0.15];
    const p = (isUnsafe: boolean): number => (isUnsafe ? 1 - error : error);
    const both = share * p(true) ** 2 + (1 - share) * p(false) ** 2;
    const called = share * p(true) + (1 - share) * p(false);
    const chance = called ** 2 + (1 - called) ** 2;
    const truth = (both + (1 - 2 * called + both) - chance) / (1 - chance);
    let covered = 0;
    const runs = 120;
    for (let run = 0; run < runs; run++) {
      const stream = randomStream(5, 'kappa', run);
      const answers = Array.from({ length: 150 }, () => {
        const isUnsafe = stream.nextFloat() < share;
        const [a, b] = [stream.nextFloat() < p(isUnsafe), stream.nextFloat() < p(isUnsafe)];
        return one(a ? (b ? 'both' : 'onlyFirst') : b ? 'onlySecond' : 'neither');
      });
      const { low, high } = clusteredAgreement(answers, run).kappa;
      if (low !== null && high !== null && low <= truth && truth <= high) covered++;
    }
    expect(covered / runs).toBeGreaterThan(0.89); // three standard errors below 0.95
    expect(covered / runs).toBeLessThan(1);
  });
});
