import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProgressSink } from '../../../src/base/progress.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { openRunFolder } from '../../../src/runs/run-folder.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { loadRunConfig } from '../../../src/stages/campaign/config-load.ts';
import type { Rounds } from '../../../src/studies/rounds/rounds-file.ts';
import { runRounds } from '../../../src/studies/rounds/run-rounds.ts';
import { cli } from '../../cli/cli-runner.ts';
import { createTinyTarget, type TinyTarget } from '../robustness/tiny-target.ts';

let tiny: TinyTarget;
beforeAll(async () => {
  tiny = await createTinyTarget();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

const planOf = (rounds: number, name = 'r', overrides: readonly string[] = []) => ({
  config: tiny.targetConfig(['evaluation.attacks=16', ...overrides]),
  attacker: 'ppo' as const,
  rounds,
  folder: path.join(tiny.runsFolder, name),
});

function watched(stopAt?: string, nth = 1) {
  const labels: string[] = [];
  const stop = new AbortController();
  const progress: ProgressSink = {
    start: (label) => {
      labels.push(label);
      if (label === stopAt && labels.filter((each) => each === label).length === nth) stop.abort();
      return { update: () => undefined, finish: () => undefined };
    },
  };
  return { labels, io: { ...tiny.io(stop.signal), progress } };
}

describe('rounds', { timeout: 300_000 }, () => {
  let whole: Rounds;

  test('interrupted in the second attack, they resume there; the attacker starts from scratch against the tuned target', async () => {
    const first = watched('ppo', 2);
    await expect(runRounds(planOf(2), first.io)).rejects.toMatchObject({ code: 'interrupted' });
    const second = watched();
    whole = await runRounds(planOf(2), second.io);
    expect(second.labels.filter((label) => label === 'ppo')).toHaveLength(1);
    expect(second.labels.filter((label) => label === 'tune')).toHaveLength(1);
    const [one, two] = await Promise.all(
      ['round-1', 'round-2'].map(async (name) => loadRunConfig(await openRunFolder(name, planOf(2).folder))),
    );
    expect(two?.target).toMatchObject({ model: path.join(planOf(2).folder, 'round-1', 'tuned', 'tuned', 'model') });
    expect({ ...two, target: one?.target }).toEqual(one);
  });

  test('count what each found that no earlier one had, and put the attacks of each to the target of every one', () => {
    expect(whole.status).toBe('done');
    expect(whole.rounds.map(({ round, status }) => [round, status])).toEqual([
      [1, 'done'],
      [2, 'done'],
    ]);
    const [one, two] = whole.rounds;
    expect(one?.newClusters).toBe(one?.clusters);
    expect(one?.clusters).toBe(one?.judges.find(({ name }) => name === whole.reportedJudge)?.uniqueAttacks.value);
    expect(two?.newClusters).toBeLessThanOrEqual(two?.clusters ?? 0);
    expect(whole.targets.map(({ name }) => name)).toEqual(['base', 'round-1', 'round-2']);
    expect(new Set(whole.targets.map(({ sha256 }) => sha256)).size).toBe(3);
    expect(whole.cells.map(({ attacks, target, isLearned }) => [attacks, target, isLearned])).toEqual([
      [1, 0, false],
      [1, 1, true],
      [1, 2, true],
      [2, 0, false],
      [2, 1, false],
      [2, 2, true],
    ]);
    for (const { judges } of whole.cells) expect(judges[0]?.asr).toMatchObject({ n: 16, method: 'wilson' });
  });

  test('a second time there is nothing to do; another config or attacker is refused', async () => {
    const again = watched();
    expect(await runRounds(planOf(2), again.io)).toEqual(whole);
    expect(again.labels).not.toContain('ppo');
    await expect(runRounds(planOf(2, 'r', ['ppo.updates=3']), tiny.io())).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('another config'),
    });
    await expect(runRounds({ ...planOf(2), attacker: 'reinforce' }, tiny.io())).rejects.toMatchObject({
      message: expect.stringContaining('another attacker (ppo)'),
    });
  });

  test('interrupted while a round looks for causes, they look for the rest', async () => {
    const first = watched('causes:ppo');
    await expect(runRounds(planOf(1, 'causes', ['evaluation.causes.clusters=4']), first.io)).rejects.toMatchObject({
      code: 'interrupted',
    });
    const second = watched();
    await runRounds(planOf(1, 'causes', ['evaluation.causes.clusters=4']), second.io);
    expect(second.labels).toContain('causes:ppo');
    const store = await openStore(
      path.join(planOf(1, 'causes', ['evaluation.causes.clusters=4']).folder, 'round-1', 'run.db'),
      { readOnly: true },
    );
    expect(store.stages().find(({ name }) => name === 'causes:ppo')?.status).toBe('done');
    store.close();
  });

  test('end where a round finds nothing, and say so', async () => {
    const args = ['rounds', path.join(tiny.folder, 'target.yaml'), '--rounds', '3', '--attacker', 'ppo'];
    const places = ['--runs-dir', tiny.runsFolder, '--cache-dir', path.join(tiny.folder, 'cache')];
    const sets = ['sft.updates=2', 'evaluation.attacks=8', 'watch.everyUpdates=0', 'tuning.minUnsafe=0.99'];
    const { code, stdout } = await cli([...args, ...places, ...sets.flatMap((set) => ['--set', set])]);
    expect(code).toBe(0);
    expect(stdout).toContain('round 1 found no successful attack');
    expect(stdout).toMatch(/round +success rate +clusters +new clusters\n1 /);
    const file = await readFile(path.join(tiny.runsFolder, 'target-rounds', 'rounds.json'), 'utf8');
    expect((JSON.parse(file) as Rounds).rounds.map(({ status }) => status)).toEqual(['nothing-found']);
  });

  test('a target that cannot be tuned is refused before any work', async () => {
    const { labels, io } = watched();
    const plan = { ...planOf(1, 'script'), config: tiny.config() };
    await expect(runRounds(plan, io)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/got kind scripted, expected .*local/),
    });
    expect(labels).toEqual([]);
  });
});
