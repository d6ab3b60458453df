import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { ALL_STAGES, SMALL_STAGES } from './all-stages.ts';
import { runWithKills } from './killed-run.ts';
import { createTinyWholeRun, type TinyWholeRun } from './whole-run.ts';

/** One kill in the training of each kind of loop; `npm run lab -- durability kills` draws hundreds over all stages. */
const KILLED_IN = [
  'controls',
  'evaluate:icl',
  'stable-gfn',
  'reinforce',
  'ppo',
  'ppo-smoothing',
  'covering',
  'evaluate:best-of-n',
];

let whole: TinyWholeRun;
beforeAll(async () => {
  whole = await createTinyWholeRun([...SMALL_STAGES, ALL_STAGES]);
});
afterAll(() => whole?.remove());

test('a run of every stage, killed in each kind of them, equals the uninterrupted run byte for byte', async () => {
  const labels = whole.sections.map(({ label }) => label);
  const targets = KILLED_IN.map((label) => labels.indexOf(label));
  expect(targets).not.toContain(-1);
  const stream = randomStream(0, 'kill all');
  const kills = await runWithKills(whole.place, 'killed', { sections: whole.sections, kills: 0, stream, targets });
  expect(kills.length).toBeGreaterThan(3);
  expect(whole.differences('killed'), JSON.stringify(kills)).toEqual([]);
}, 300_000);
