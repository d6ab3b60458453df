import { expect, test } from 'vitest';
import { runBorderTrial } from './border-trial.ts';
import { holdCounts, spread, summarise } from './calibration-summary.ts';
import { type CalibrationTrial, runEnumerableTrial } from './enumerable-trial.ts';
import { runStress, STRESS_DISTRIBUTIONS } from './stress-distributions.ts';
import { RATE_SETTINGS, runRateStress } from './stress-rates.ts';

/** `CALIBRATION_WORLDS` and `CALIBRATION_SEED` change them. */
const WORLDS = Number(process.env.CALIBRATION_WORLDS ?? 100);
const SEED = Number(process.env.CALIBRATION_SEED ?? 1000);
const STRESS_SAMPLES = 1000;
const RATE_SAMPLES = 300;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

test(`${WORLDS} enumerable worlds: the intervals hold the truth`, async () => {
  const trials: CalibrationTrial[] = [];
  for (let world = 0; world < WORLDS; world++) {
    trials.push(await runEnumerableTrial(SEED + world));
    if ((world + 1) % 10 === 0) say(`${world + 1} of ${WORLDS} worlds`);
  }
  for (const line of summarise(trials)) say(line);
  const held = holdCounts(trials);
  expect(held.missingMass).toBeGreaterThanOrEqual(0.9 * WORLDS);
  expect(held.chao1Lower).toBeGreaterThanOrEqual(0.9 * WORLDS);
  expect(held.referenceFailureRate).toBeGreaterThanOrEqual(0.9 * WORLDS);
});

test(`${WORLDS} worlds of embeddings without clear borders: the missing mass holds the truth`, () => {
  const trials = Array.from({ length: WORLDS }, (_, world) => runBorderTrial(SEED + world));
  const held = trials.filter(
    ({ missingMass: { low, high }, trueMissingMass }) =>
      (low ?? 0) <= trueMissingMass && trueMissingMass <= (high ?? 1),
  );
  const errorOf = (value: (trial: (typeof trials)[number]) => number): string =>
    spread(trials.map((trial) => value(trial) - trial.trueMissingMass));
  say(`embeddings: held in ${held.length}; true ${spread(trials.map((t) => t.trueMissingMass))}`);
  say(
    `  error of the median over orders ${errorOf((t) => t.missingMass.value ?? 0)}, of one order ${errorOf((t) => t.naive)}`,
  );
  expect(held.length).toBeGreaterThanOrEqual(0.9 * WORLDS);
});

test('in every stress distribution, at every size, the intervals hold the truth in 9 of 10 samples', () => {
  for (const name of Object.keys(STRESS_DISTRIBUTIONS)) {
    const results = [30, 100, 300, 1000].map((draws) => runStress(name, draws, STRESS_SAMPLES, SEED));
    const cells = results.map((r) => `${shareOf(r.massHeld)} / ${shareOf(r.chaoHeld)} / ${r.meanWidth.toFixed(3)}`);
    say(`| ${name} | ${cells.join(' | ')} |`);
    for (const result of results) {
      expect(result.massHeld, `${name}, ${result.draws} draws`).toBeGreaterThanOrEqual(0.9 * STRESS_SAMPLES);
      expect(result.chaoHeld, `${name}, ${result.draws} draws`).toBeGreaterThanOrEqual(0.9 * STRESS_SAMPLES);
    }
  }
});

test('the reference failure rate in tables with good, rough and blind attackers, in 9 of 10 samples', () => {
  for (const name of Object.keys(RATE_SETTINGS)) {
    const results = [64, 256].map((draws) => runRateStress(name, draws, RATE_SAMPLES, SEED));
    const cells = results.map(
      (r) =>
        `${shareOf(r.held, RATE_SAMPLES)} / ${r.meanWidth.toFixed(4)} / ${r.flagged} flagged, ${r.heldWhenFlagged} of them held`,
    );
    say(`| ${name} | ${cells.join(' | ')} |`);
    for (const { held } of results) expect(held, name).toBeGreaterThanOrEqual(0.9 * RATE_SAMPLES);
  }
});

function shareOf(held: number, samples = STRESS_SAMPLES): string {
  return (held / samples).toFixed(3);
}
