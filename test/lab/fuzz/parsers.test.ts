import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fire, inputOf } from '../../../lab/fuzz/fuzz-target.ts';
import { createAllTargets } from '../../../lab/fuzz/targets/all-targets.ts';

/** A sample of `npm run lab -- fuzz`, under another seed; that one also measures memory. */
const SEED = 20;
const INPUTS = 150;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'floodgate-fuzz-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each(createAllTargets(path.join(import.meta.dirname, '../../..')))(
  '$name: only our errors, and nothing written outside',
  async (target) => {
    const outcomes = { parsed: 0, refused: 0, fault: 0 };
    for (let index = 0; index < INPUTS; index++) {
      const place = mkdtempSync(path.join(folder, 'input-'));
      const { outcome, fault } = await fire(target, inputOf(target, SEED, index), place);
      expect(fault, `input ${index} of seed ${SEED}`).toBeUndefined();
      outcomes[outcome]++;
      rmSync(place, { recursive: true });
    }
    // A sample that only breaks the first bytes would be refused throughout and test nothing behind them.
    expect(outcomes.parsed).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  },
);
