import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { type CompiledSource, compileSource } from '../support/compiled-source.ts';
import { type CampaignPlace, type CampaignProcess, resumeProcess, startRunProcess } from './campaign-process.ts';
import { runWithKills, type Section, sectionsOf } from './killed-run.ts';
import { contentDifferences, type RunContent, readRunContent } from './run-content.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from './tiny-campaign.ts';

let compiled: CompiledSource;
let tiny: TinyCampaign;
let place: CampaignPlace;

beforeAll(async () => {
  compiled = compileSource();
  tiny = await createTinyCampaign();
  place = placeOfTiny(tiny, compiled.folder);
});
afterAll(async () => {
  compiled.remove();
  await tiny.remove();
});

/** Waits until the run has shown a GFlowNet update: the middle of a run, whatever the machine's speed. */
async function reachedGflownet(run: CampaignProcess): Promise<void> {
  while (!run.sections.some(({ label }) => label === 'gflownet') && run.child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('a killed run', () => {
  let whole: RunContent;
  let sections: Section[];

  beforeAll(async () => {
    const run = startRunProcess(place, 'whole');
    const { code, stderr } = await run.outcome;
    expect(stderr).not.toMatch(/error:/);
    expect(code).toBe(0);
    sections = sectionsOf(run, performance.now() - run.startedMs);
    whole = readRunContent(path.join(tiny.runsFolder, 'whole'));
  });

  const differences = (name: string): string[] =>
    contentDifferences(whole, readRunContent(path.join(tiny.runsFolder, name)));

  test.each([0, 1, 2, 3])(
    'kill -9 at random points, case %i: resumed, it equals the uninterrupted run byte for byte',
    async (seed) => {
      const name = `killed-${seed}`;
      const kills = await runWithKills(place, name, { sections, kills: 4, stream: randomStream(seed, 'kill') });
      expect(kills.length).toBeGreaterThan(0);
      expect(differences(name), JSON.stringify(kills)).toEqual([]);
    },
  );

  test('Ctrl-C saves, says how to go on and exits with 130; resumed, it equals the uninterrupted run', async () => {
    const run = startRunProcess(place, 'stopped');
    await reachedGflownet(run);
    run.kill('SIGINT');
    const { code, stderr } = await run.outcome;
    expect(code).toBe(130);
    expect(stderr).toMatch(/floodgate resume/);
    const resumed = await resumeProcess(place, 'stopped').outcome;
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(differences('stopped')).toEqual([]);
  });

  test('a run in use by another process is refused', async () => {
    const run = startRunProcess(place, 'shared');
    await reachedGflownet(run);
    run.kill('SIGSTOP'); // it holds the run as long as we look
    const second = await resumeProcess(place, 'shared').outcome;
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(new RegExp(`in use by process ${run.child.pid}`));
    run.kill('SIGKILL');
    await run.outcome;
  });
});
