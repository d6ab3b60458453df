import { expect, test } from 'vitest';
import { holds, spread } from './calibration-summary.ts';
import { type CausesTrial, runCausesTrial } from './causes-trial.ts';

/** `CALIBRATION_WORLDS` and `CALIBRATION_SEED` change them. */
const WORLDS = Number(process.env.CALIBRATION_WORLDS ?? 100);
const SEED = Number(process.env.CALIBRATION_SEED ?? 1000);

const say = (line: string): void => void process.stderr.write(`${line}\n`);

test(`${WORLDS} worlds by rule: the figures over causes hold the truth`, async () => {
  const trials: CausesTrial[] = [];
  for (let world = 0; world < WORLDS; world++) trials.push(await runCausesTrial(SEED + world));
  const massHeld = trials.filter(({ missingMass, trueMissingMass }) => holds(missingMass, trueMissingMass));
  const waysHeld = trials.filter(({ chao1, trueWays }) => (chao1.low ?? 0) <= trueWays);
  const sum = (of: (trial: CausesTrial) => number): number => trials.reduce((total, trial) => total + of(trial), 0);
  const oneKey = sum((trial) => trial.oneKey) / sum((trial) => trial.causes);
  say(`causes: ${oneKey.toFixed(4)} of ${sum((trial) => trial.causes)} hold exactly one key`);
  say(`missing mass over causes: held in ${massHeld.length}; true ${spread(trials.map((t) => t.trueMissingMass))}`);
  say(`chao1 over causes: lower limit at or below the truth in ${waysHeld.length}`);
  say(
    `ways / true ways: ${spread(trials.map((t) => t.ways / t.trueWays))}; calls ${spread(trials.map((t) => t.calls))}`,
  );
  for (const trial of trials.filter((t) => !massHeld.includes(t) || !waysHeld.includes(t))) {
    say(
      `missed: ${trial.setting} ${JSON.stringify([trial.trueMissingMass, trial.missingMass, trial.ways, trial.chao1])}`,
    );
  }
  expect(oneKey).toBeGreaterThanOrEqual(0.95);
  expect(massHeld.length).toBeGreaterThanOrEqual(0.9 * WORLDS);
  expect(waysHeld.length).toBeGreaterThanOrEqual(0.9 * WORLDS);
});
