import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { type CampaignProcess, resumeProcess, startRunProcess } from './campaign-process.ts';
import { runWithKills } from './killed-run.ts';
import { createTinyWholeRun, type TinyWholeRun } from './whole-run.ts';

let whole: TinyWholeRun;

beforeAll(async () => {
  whole = await createTinyWholeRun();
});
afterAll(() => whole.remove());

/** Waits until the run has shown a GFlowNet update: the middle of a run, whatever the machine's speed. */
async function reachedGflownet(run: CampaignProcess): Promise<void> {
  while (!run.sections.some(({ label }) => label === 'gflownet') && run.child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('a killed run', () => {
  test.each([0, 1, 2])(
    'kill -9 at random points, case %i: resumed, it equals the uninterrupted run byte for byte',
    async (seed) => {
      const name = `killed-${seed}`;
      const kills = await runWithKills(whole.place, name, {
        sections: whole.sections,
        kills: 3,
        stream: randomStream(seed, 'kill'),
      });
      expect(kills.length).toBeGreaterThan(0);
      expect(whole.differences(name), JSON.stringify(kills)).toEqual([]);
    },
  );

  test('Ctrl-C saves, says how to go on and exits with 130; resumed, it equals the uninterrupted run', async () => {
    const run = startRunProcess(whole.place, 'stopped');
    await reachedGflownet(run);
    run.kill('SIGINT');
    const { code, stderr } = await run.outcome;
    expect(code).toBe(130);
    expect(stderr).toMatch(/floodgate resume/);
    const resumed = await resumeProcess(whole.place, 'stopped').outcome;
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(whole.differences('stopped')).toEqual([]);
  });

  test('a run in use by another process is refused', async () => {
    const run = startRunProcess(whole.place, 'shared');
    await reachedGflownet(run);
    run.kill('SIGSTOP'); // it holds the run as long as we look
    const second = await resumeProcess(whole.place, 'shared').outcome;
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(new RegExp(`in use by process ${run.child.pid}`));
    run.kill('SIGKILL');
    await run.outcome;
  });
});
