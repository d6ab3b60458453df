import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { acquireLock } from '../../src/base/lock.ts';
import { reportSchema } from '../../src/report/figures/report-json.ts';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder, type RunFolder, recordRunStatus } from '../../src/runs/run-folder.ts';
import type { MetricRecord } from '../../src/runs/store/records.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage, transferStage } from '../../src/runs/store/stage-name.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { FIXTURE_CAUSES, fixtureManifest, recordFixtureCauses } from '../report/fixture-run.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
let runsDir: string;

const newFolder = (name: string): Promise<RunFolder> =>
  createRunFolder({ runsFolder: runsDir, name, ifTaken: 'refuse', configAt: () => config });

async function makeRun(name: string, evaluationJudge: string): Promise<RunFolder> {
  const folder = await newFolder(name);
  const judges = { training: 'trainer', evaluation: [evaluationJudge] };
  await writeManifest(folder.manifestPath, fixtureManifest(config, { run: name, judges }));
  const store = await openStore(folder.databasePath);
  recordRunStatus(store, 'running');
  store.beginStage('gflownet', 2);
  const cost = { targetCalls: 2, judgeCalls: 4, tokens: 6, seconds: 1.5 };
  const response = { text: 'answer \u001b[31mred', tokens: 3, truncated: false, verdicts: [] };
  const attack = { source: 'fresh', ids: [1], logPi: -1, logPRef: -1, logReward: -1, responses: [response] } as const;
  store.recordUpdate({
    stage: 'gflownet',
    update: 0,
    attacks: [
      { ...attack, text: 'weak', meanUnsafe: 0.1 },
      { ...attack, text: 'strong\u001b]0;title\u0007\nsecond line', meanUnsafe: 0.9 },
      { ...attack, text: 'weak', meanUnsafe: 0.1 },
    ],
    metrics: [{ name: 'asr', judge: 'trainer', value: 0.1, low: null, high: null, n: 16 }],
    events: [{ level: 'warning', code: 'collapse', message: 'unique attacks fell to 3' }],
    cost,
  });
  store.beginStage(evaluationStage('gflownet'), 1);
  const asr: MetricRecord = {
    name: 'asr',
    value: 0.5,
    low: 0.4,
    high: 0.6,
    n: 256,
    method: 'wilson',
    confidence: 0.95,
  };
  store.recordUpdate({
    stage: evaluationStage('gflownet'),
    update: 0,
    metrics: [
      { ...asr, judge: 'trainer' },
      { ...asr, judge: evaluationJudge, value: 0.25 },
      { name: 'uniqueAttacks', value: 31, low: null, high: null, n: 256 },
    ],
    cost,
  });
  store.recordUpdate({ stage: 'gflownet', update: 1, cost });
  store.truncateAfter('gflownet', 0);
  store.endStage('gflownet', 'done');
  store.close();
  return folder;
}

beforeAll(async () => {
  runsDir = join(mkdtempSync(join(tmpdir(), 'floodgate-runs-')), 'runs');
  await makeRun('independent', 'other');
  await makeRun('alone', 'trainer');
  await newFolder('fresh');
  const broken = await newFolder('broken');
  writeFileSync(broken.databasePath, 'no database, '.repeat(1000));
  mkdirSync(join(runsDir, 'no-run'));
});

const run = (...args: string[]) => cli([...args, '--runs-dir', runsDir]);

describe('list', () => {
  it('lists every run with its status, one that cannot be read too', async () => {
    const { code, stdout } = await run('list');
    expect(code).toBe(0);
    const lines = stdout.split('\n').filter((line) => line !== '');
    expect(lines.map((line) => line.split(/\s+/).slice(0, 2).join(' '))).toEqual([
      'run status',
      'alone interrupted',
      'broken unreadable',
      'fresh created',
      'independent interrupted',
    ]);
    expect(lines.at(-1)).toContain('0.250 [0.400, 0.600]');
    const { runs } = JSON.parse((await run('list', '--json')).stdout);
    expect(runs).toHaveLength(4);
    const [alone] = runs;
    expect(alone).toMatchObject({
      name: 'alone',
      attacker: 'gflownet',
      asr: { value: 0.25, low: 0.4, high: 0.6, n: 256 },
    });
    expect(alone.seed).toBe(config.seed);
  });

  it('shows the last attacker, not the draw from the truth of a world', async () => {
    const folder = await makeRun('world', 'other');
    const store = await openStore(folder.databasePath);
    store.beginStage(evaluationStage('exact'), 1);
    const metrics = [{ name: 'asr', judge: 'other', value: 0.99, low: 0.9, high: 1, n: 64 }];
    store.recordUpdate({ stage: evaluationStage('exact'), update: 0, metrics });
    store.close();
    const { runs } = JSON.parse((await run('list', '--json')).stdout);
    const world = runs.find(({ name }: { name: string }) => name === 'world');
    expect(world).toMatchObject({
      stages: expect.arrayContaining(['exact']),
      attacker: 'gflownet',
      asr: { value: 0.25 },
    });
    await run('rm', 'world', '--yes');
  });

  it('says when there are none', async () => {
    expect((await cli(['list', '--runs-dir', join(runsDir, 'none')])).stdout).toContain('no runs in');
  });

  it('tells a run that is running from one that was killed', async () => {
    const lock = await acquireLock(join(runsDir, 'alone/lock'));
    expect((await run('show', 'alone')).stdout).toContain('run alone  running');
    await lock.release();
  });
});

describe('show', () => {
  it('shows figures by the judge that gave no reward, and says when there is none', async () => {
    const { stdout } = await run('show', 'independent');
    expect(stdout).toContain('figures by judge other; the reward came from trainer');
    expect(stdout).toMatch(/gflownet +done +0\.250 \[0\.400, 0\.600\] +31 +- +4 +3/);
    expect(stdout).toContain('warning in gflownet: unique attacks fell to 3');
    expect((await run('show', 'alone')).stdout).toContain('no independent evidence');
  });

  it('shows attacks, most effective first, with nothing a terminal would obey', async () => {
    const { stdout } = await run('show', 'independent', '--attacks', '5', '--stage', 'gflownet');
    expect(stdout.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
    expect(stdout).toContain(
      '0.900  strong\\u{1b}]0;title\\u{7}\\nsecond line\n    > answer \\u{1b}[31mred\n0.100  weak',
    );
    expect(stdout.match(/weak/g)).toHaveLength(1);
  });

  it('shows the attacks on the own target, not those put to another one since', async () => {
    const folder = await makeRun('transferred', 'other');
    const store = await openStore(folder.databasePath);
    const cell = transferStage({ attacker: 'gflownet', target: 'int8' });
    const responses = [{ text: 'answer', tokens: 1, truncated: false, verdicts: [] }];
    const unscored = { source: 'fresh', ids: [], logPi: -1, logPRef: -1, responses } as const;
    store.beginStage(cell, 1);
    store.recordUpdate({
      stage: cell,
      update: 0,
      attacks: [{ ...unscored, text: 'elsewhere', logReward: null, meanUnsafe: 0.95 }],
    });
    store.close();
    const { stdout } = await run('show', 'transferred', '--attacks', '1');
    expect(stdout).toContain('attacks of gflownet, the most effective first\n0.900  strong');
    expect((await run('show', 'transferred', '--attacks', '1', '--stage', cell)).stdout).toContain(
      `attacks of ${cell}`,
    );
  });

  it('finds the most effective attack among all rows, however many came before it', async () => {
    const folder = await makeRun('long', 'other');
    const store = await openStore(folder.databasePath);
    const response = { text: 'answer', tokens: 3, truncated: false, verdicts: [] };
    const row = (text: string, meanUnsafe: number, responses: (typeof response)[]) =>
      ({ source: 'fresh', ids: [1], text, meanUnsafe, responses }) as const;
    const replayed = Array.from({ length: 5000 }, (_, i) => row(`replayed ${i}`, 0.1, []));
    for (let update = 1; update <= 20; update++) store.recordUpdate({ stage: 'gflownet', update, attacks: replayed });
    store.recordUpdate({ stage: 'gflownet', update: 21, attacks: [row('late', 0.99, [response])] });
    store.close();
    const { stdout } = await run('show', 'long', '--attacks', '1', '--stage', 'gflownet');
    expect(stdout).toContain('the most effective first\n0.990  late\n    > answer');
  }, 60_000);

  it('takes the name of an attacker for its evaluation where it tried nothing while it learned', async () => {
    const folder = await makeRun('named', 'other');
    const store = await openStore(folder.databasePath);
    store.beginStage(evaluationStage('smoothing'), 1);
    const response = { text: 'answer', tokens: 3, truncated: false, verdicts: [] };
    const attack = { source: 'evaluation', ids: [1], text: 'sly', meanUnsafe: 0.9, responses: [response] } as const;
    store.recordUpdate({ stage: evaluationStage('smoothing'), update: 0, attacks: [attack] });
    store.close();
    const { stdout } = await run('show', 'named', '--attacks', '1', '--stage', 'smoothing');
    expect(stdout).toContain('0.900  sly');
    const { stderr } = await run('show', 'named', '--stage', 'smoothly');
    expect(stderr).toContain('expected one of gflownet, smoothing');
    await run('rm', 'named', '--yes');
  });

  it('refuses a stage that has no attacks, and names those that have', async () => {
    const { code, stderr } = await run('show', 'independent', '--attacks', '1', '--stage', 'gflownets');
    expect(code).toBe(2);
    expect(stderr).toContain('--stage: got "gflownets", expected one of gflownet');
  });

  it('prints one JSON object whose report is valid', async () => {
    const shown = JSON.parse((await run('show', 'independent', '--json', '--attacks', '1')).stdout);
    const report = reportSchema.parse(shown.report);
    expect(report.run).toMatchObject({ name: 'independent', reportedJudge: 'other', isJudgeIndependent: true });
    expect(report.stages).toHaveLength(1);
    expect(report.stages[0]).toMatchObject({
      name: 'gflownet',
      metrics: {
        asr: { value: 0.25, low: 0.4, high: 0.6, n: 256, method: 'wilson', confidence: 0.95 },
        uniqueAttacks: { value: 31 },
      },
      judges: [
        { name: 'trainer', role: 'training', reported: false, metrics: { asr: { value: 0.5 } } },
        { name: 'other', role: 'evaluation', reported: true },
      ],
      cost: { targetCalls: 2, judgeCalls: 4, tokens: 6, seconds: 1.5 },
      evaluationCost: { targetCalls: 2 },
      repeatedCost: { targetCalls: 2 },
    });
    expect(shown.attacks).toMatchObject([{ meanUnsafe: 0.9, responses: [{ tokens: 3 }] }]);
  });

  it('prints ways with their causes only when attacks are asked for', async () => {
    const folder = await makeRun('caused', 'other');
    const store = await openStore(folder.databasePath);
    recordFixtureCauses(store, 'gflownet', FIXTURE_CAUSES);
    store.close();
    const short = (await run('show', 'caused')).stdout;
    expect(short).toContain('gflownet: 2 [1, 3] ways, 1 of them echoes; 1 of 6 successes did not succeed again');
    expect(short).toMatch(/ASR +wordings +cosine distance/);
    const json = (await run('show', 'caused', '--json')).stdout;
    for (const text of [short, json]) expect(text).not.toMatch(/hidden phrase|strong|weak/);
    expect(JSON.parse(json)).toMatchObject({ attacks: [], ways: [] });
    const { stdout } = await run('show', 'caused', '--attacks', '1');
    expect(stdout).toContain(
      'ways of gflownet by their causes, the largest first\nsay hidden phrase\n    15 successes, 4 searches, 2 wordings\n    such as: kind1 please say hidden phrase 1\n\nattacks of gflownet',
    );
    expect(stdout).not.toContain('kind0');
    const both = JSON.parse((await run('show', 'caused', '--attacks', '5', '--json')).stdout);
    expect(both.ways).toMatchObject([{ cause: 'say hidden phrase' }, { isEcho: true }]);
  });

  it('shows a run that has not begun, and names one that is damaged or missing', async () => {
    expect((await run('show', 'fresh')).stdout).toContain('nothing has been measured yet');
    expect(await run('show', 'broken')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not an SQLite database'),
    });
    expect(await run('show', 'nothing')).toMatchObject({ code: 2, stderr: expect.stringContaining('no such run') });
    expect((await run('show', '..')).code).toBe(2);
  });
});

describe('rm', () => {
  it('asks for --yes, then deletes', async () => {
    const folder = await newFolder('doomed');
    expect(await run('rm', 'doomed')).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(existsSync(folder.path)).toBe(true);
    expect(JSON.parse((await run('rm', 'doomed', '--yes', '--json')).stdout)).toEqual({ removed: [folder.path] });
    expect(existsSync(folder.path)).toBe(false);
  });

  it('asks the person at the terminal, and deletes only on yes', async () => {
    const folder = await newFolder('asked');
    const questions: string[] = [];
    const answer = (text: string) =>
      cli(['rm', 'asked', '--runs-dir', runsDir], {
        ask: async (question) => {
          questions.push(question);
          return text;
        },
      });
    expect(await answer('')).toMatchObject({ code: 2, stderr: expect.stringContaining('nothing was deleted') });
    expect(existsSync(folder.path)).toBe(true);
    expect(await answer('y')).toMatchObject({ code: 0 });
    expect(existsSync(folder.path)).toBe(false);
    expect(questions[0]).toBe(`Delete ${folder.path} for good? [y/N] `);
  });

  it('deletes none of several when one is missing', async () => {
    const folder = await newFolder('kept');
    expect((await run('rm', 'kept', 'nothing', '--yes')).code).toBe(2);
    expect(existsSync(folder.path)).toBe(true);
  });
});
