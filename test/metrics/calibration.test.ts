import { afterAll, expect, test, vi } from 'vitest';
import { runBorderTrial } from '../../lab/calibration/border-trial.ts';
import { holdCounts } from '../../lab/calibration/calibration-summary.ts';
import { type CalibrationTrial, runEnumerableTrial } from '../../lab/calibration/enumerable-trial.ts';
import { runStress, STRESS_DISTRIBUTIONS } from '../../lab/calibration/stress-distributions.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';

// A sample of `npm run lab -- calibration`, on other seeds. A method that holds the truth in 95 of 100 fails each bound with
// probability below 1e-4: P(Binomial(10, 0.95) < 6) = 6e-5, P(Binomial(20, 0.95) < 14) = 3e-5, P(Binomial(100, 0.95) < 84) = 9e-6.

vi.setConfig({ testTimeout: 300_000 }); // half a minute on idle cores

afterAll(() => expect(liveSessionLabels()).toEqual([]));

test('ten enumerable worlds, through the engine', async () => {
  const trials: CalibrationTrial[] = [];
  for (let seed = 1; seed <= 10; seed++) trials.push(await runEnumerableTrial(seed));
  const held = holdCounts(trials);
  expect(held.missingMass).toBeGreaterThanOrEqual(6);
  expect(held.chao1Lower).toBeGreaterThanOrEqual(6);
  expect(held.referenceFailureRate).toBeGreaterThanOrEqual(6);
  const used = trials.filter(({ flaw }) => flaw === undefined);
  expect(used.length).toBeGreaterThanOrEqual(3);
});

test('twenty worlds of embeddings without clear borders', () => {
  const trials = Array.from({ length: 20 }, (_, seed) => runBorderTrial(seed + 1));
  const held = trials.filter(
    ({ missingMass: { low, high }, trueMissingMass }) =>
      (low ?? 1) <= trueMissingMass && trueMissingMass <= (high ?? 0),
  );
  expect(held.length).toBeGreaterThanOrEqual(14);
});

test('stress distributions, 100 samples of 100 draws each', () => {
  for (const name of Object.keys(STRESS_DISTRIBUTIONS)) {
    const { massHeld, chaoHeld } = runStress(name, 100, 100, 1);
    expect(massHeld, name).toBeGreaterThanOrEqual(84);
    expect(chaoHeld, name).toBeGreaterThanOrEqual(84);
  }
});
