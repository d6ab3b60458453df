import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { acquireLock } from '../../../src/base/lock.ts';
import type { ProgressSink } from '../../../src/base/progress.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import type { Robustness } from '../../../src/studies/robustness/robustness-file.ts';
import { runRobustness } from '../../../src/studies/robustness/run-robustness.ts';
import { cli } from '../../cli/cli-runner.ts';
import { createTinyTarget, type TinyTarget } from './tiny-target.ts';

let tiny: TinyTarget;
let folder: RunFolder;

beforeAll(async () => {
  tiny = await createTinyTarget();
  const config = tiny.targetConfig(['attackers=[sft, ppo]']);
  folder = await startRun({ config, runsFolder: tiny.runsFolder, name: 'run', ifTaken: 'refuse' }, tiny.io());
}, 300_000);
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

const cellOf = ({ cells }: Robustness, attacker: string, target: string, how: string) =>
  cells.find((cell) => cell.attacker === attacker && cell.target === target && cell.how === how);

/** Labels of the bars that were started, and a stop where one of them is reached. */
function watched(stopAt?: string) {
  const labels: string[] = [];
  const stop = new AbortController();
  const progress: ProgressSink = {
    start: (label) => {
      labels.push(label);
      if (label === stopAt) stop.abort();
      return { update: () => undefined, finish: () => undefined };
    },
  };
  return { labels, io: { ...tiny.io(stop.signal), progress } };
}

describe('the matrix of attackers and target versions', { timeout: 300_000 }, () => {
  let whole: Robustness;

  test('interrupted while an attacker is retrained, it keeps the rest and fills the missing cells', async () => {
    const first = watched('ppo');
    await expect(runRobustness(folder, { overrides: [] }, first.io)).rejects.toMatchObject({ code: 'interrupted' });
    const kept = JSON.parse(
      await readFile(path.join(folder.path, 'robustness', 'robustness.json'), 'utf8'),
    ) as Robustness;
    expect(kept.status).toBe('running');
    expect(kept.cells.filter(({ how }) => how === 'replayed')).toHaveLength(6);
    const second = watched();
    whole = await runRobustness(folder, { overrides: [] }, second.io);
    expect(first.labels.filter((label) => label === 'tune').length).toBe(2);
    expect(second.labels).not.toContain('tune');
    expect(second.labels.filter((label) => label === 'ppo').length).toBe(2);
    expect(whole.status).toBe('done');
    expect(whole.targets).toEqual(kept.targets);
  });

  test('has every attacker against every version, replayed and retrained, with Wilson intervals by each judge', () => {
    expect(whole.attackers).toEqual(['sft', 'ppo']);
    expect(whole.targets.map(({ name }) => name)).toEqual(['base', 'sft', 'ppo']);
    expect(whole.reportedJudge).toBe('fewer');
    for (const attacker of ['sft', 'ppo']) {
      for (const target of ['base', 'sft', 'ppo']) {
        const cell = cellOf(whole, attacker, target, 'replayed');
        expect(cell?.judges.map(({ name }) => name).sort()).toEqual(['fewer', 'letters']);
        expect(cell?.isLearned).toBe(attacker === target);
        for (const { asr } of cell?.judges ?? []) expect(asr).toMatchObject({ n: 24, method: 'wilson' });
      }
    }
    for (const target of ['base', 'sft', 'ppo']) {
      expect(cellOf(whole, 'ppo', target, 'retrained')?.judges[0]?.asr.n).toBe(24);
    }
    expect(cellOf(whole, 'sft', 'sft', 'retrained')).toBeUndefined();
    expect(existsSync(path.join(folder.path, 'robustness', 'sft', 'ppo', 'config.yaml'))).toBe(true);
  });

  test('tunes on equally many successes, and measures over-refusal and utility of each version', () => {
    const [base, ...tuned] = whole.targets;
    expect(base?.overRefusal?.benign.n).toBe(4);
    expect(new Set(tuned.map(({ successes }) => successes))).toEqual(new Set([whole.successes]));
    for (const { utility, sha256 } of tuned) {
      if (utility.kind !== 'dialogue' || base?.utility.kind !== 'dialogue') throw new Error('no dialogue');
      expect(sha256).not.toBe(base.sha256);
      expect(utility.dialogues).toBeGreaterThan(0);
      expect(utility.perplexity.value).toBeGreaterThan(1);
      const mean = utility.nats.reduce((sum, nats, i) => sum + nats - (base.utility as typeof utility).nats[i]!, 0);
      expect(utility.change?.value).toBeCloseTo(mean / utility.dialogues, 10);
    }
  });

  test('a second time there is nothing to do; narrowing keeps the cells that are there', async () => {
    const again = watched();
    const narrowed = await runRobustness(
      folder,
      { data: ['sft'], attackers: ['ppo'], retrain: [], overrides: [] },
      again.io,
    );
    expect(again.labels).not.toContain('ppo');
    expect(narrowed.cells).toEqual(expect.arrayContaining(whole.cells));
    expect(narrowed.cells).toHaveLength(whole.cells.length);
  });
});

describe('a study that cannot be made is refused before any work', () => {
  const refused = async (plan: Parameters<typeof runRobustness>[1], error: object, at = folder) => {
    const { labels, io } = watched();
    await expect(runRobustness(at, plan, io)).rejects.toMatchObject(error);
    expect(labels).toEqual([]);
  };

  test('an attacker that was not evaluated, with the nearest name', () =>
    refused({ data: ['sfr'], overrides: [] }, { code: 'usage', hint: 'did you mean sft?' }));

  test('retraining an attacker that learns nothing from its target', () =>
    refused(
      { retrain: ['sft'], overrides: [] },
      { code: 'usage', message: expect.stringContaining('learns nothing') },
    ));

  test('a target that no attack has overcome', () =>
    refused(
      { overrides: ['tuning.minUnsafe=0.99'] },
      { code: 'run', message: expect.stringMatching(/no attacker has a success .*sft 0 of \d+.*the run is unchanged/) },
    ));

  test('a target that cannot be tuned, with its kind and the kinds that can be', async () => {
    const config = tiny.config(['attackers=[sft]', 'sft.updates=2', 'evaluation.attacks=8']);
    const run = await startRun({ config, runsFolder: tiny.runsFolder, name: 'script', ifTaken: 'refuse' }, tiny.io());
    await refused(
      { overrides: [] },
      { code: 'usage', message: expect.stringMatching(/got kind scripted, expected .*local/) },
      run,
    );
  });

  test('while another process measures it', async () => {
    const lock = await acquireLock(path.join(folder.path, 'robustness', 'lock'));
    try {
      await refused({ overrides: [] }, { code: 'run', message: expect.stringContaining('in use') });
    } finally {
      await lock.release();
    }
  });
});

describe('floodgate robustness', { timeout: 300_000 }, () => {
  const run = (...rest: string[]) =>
    cli(['robustness', folder.path, '--cache-dir', path.join(tiny.folder, 'cache'), '--no-retrain', ...rest]);

  test('prints both tables, and the report has them too', async () => {
    const { code, stdout } = await run();
    expect(code).toBe(0);
    expect(stdout).toMatch(/attacker +how +untuned +tuned on sft +tuned on ppo/);
    expect(stdout).toMatch(/ppo +retrained +[\d.]+ \[/);
    expect(stdout).toMatch(/sft +replayed .* \*/);
    expect(stdout).toContain('perplexity');
    const page = await readFile(path.join(folder.path, 'report.html'), 'utf8');
    expect(page).toContain('Does tuning help?');
    expect(page).toContain('learned these');
    expect(page).not.toContain('Do they work elsewhere?'); // the matrix is shown once
  });

  test('prints one JSON object, that of the file and of the report', async () => {
    const { stdout } = await run('--json');
    const printed = JSON.parse(stdout);
    expect(JSON.parse(await readFile(path.join(folder.path, 'robustness', 'robustness.json'), 'utf8'))).toEqual(
      printed,
    );
    expect(JSON.parse(await readFile(folder.reportPath, 'utf8')).robustness).toEqual(printed);
  });
});
