import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { type Kill, runWithKills } from '../../test/stages/killed-run.ts';
import { createTinyWholeRun, type TinyWholeRun } from '../../test/stages/whole-run.ts';
import { countBySection, repeatedCallsOf } from './kill-summary.ts';

/** `DURABILITY_KILLS` and `DURABILITY_SEED` change them. */
const KILLS = Number(process.env.DURABILITY_KILLS ?? 100);
const SEED = Number(process.env.DURABILITY_SEED ?? 1);
const KILLS_OF_ONE_RUN = 5;

let whole: TinyWholeRun;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

beforeAll(async () => {
  // Trying the seeds and scoring again take long enough to be hit.
  whole = await createTinyWholeRun(['gflownet.replay.seedWithReference=256', 'target.responses=6']);
  say(`uninterrupted: ${whole.sections.map(({ label, ms }) => `${label} ${ms.toFixed(0)} ms`).join(', ')}`);
});
afterAll(() => whole.remove());

test(`${KILLS} kills over all stages leave the bytes and rows of the uninterrupted run`, async () => {
  const kills: Kill[] = [];
  const repeated = { rows: 0, targetCalls: 0, judgeCalls: 0 };
  let runs = 0;
  for (; kills.length < KILLS; runs++) {
    const name = `killed-${runs}`;
    const wanted = Math.min(KILLS_OF_ONE_RUN, KILLS - kills.length);
    const stream = randomStream(SEED, 'durability', runs);
    const ofRun = await runWithKills(whole.place, name, { sections: whole.sections, kills: wanted, stream });
    kills.push(...ofRun);
    const differences = whole.differences(name);
    const again = repeatedCallsOf(path.join(whole.pathOf(name), 'run.db'));
    repeated.rows += again.rows;
    repeated.targetCalls += again.targetCalls;
    repeated.judgeCalls += again.judgeCalls;
    const where = ofRun.map(({ section, afterMs }) => `${section} at ${(afterMs / 1000).toFixed(2)} s`).join(', ');
    say(`${kills.length}/${KILLS} kills, run ${runs} ${differences.length === 0 ? 'same' : 'DIFFERENT'}: ${where}`);
    expect(differences, `run ${runs} of seed ${SEED}`).toEqual([]);
  }
  const counts = countBySection(
    kills,
    whole.sections.map(({ label }) => label),
  );
  say(`${kills.length} kills over ${runs} runs: ${[...counts].map(([label, n]) => `${label} ${n}`).join(', ')}`);
  say(
    `made again: ${repeated.targetCalls} target calls, ${repeated.judgeCalls} judge calls, in ${repeated.rows} rows of repeated_calls`,
  );
  if (KILLS >= 100) expect([...counts.values()].every((n) => n > 0)).toBe(true);
  if (KILLS >= 100) expect(repeated.targetCalls).toBeGreaterThan(0);
});
