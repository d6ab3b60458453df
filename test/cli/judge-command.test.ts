import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { calibrationText } from '../../src/cli/judge-text.ts';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder, recordRunStatus } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../src/runs/store/stage-name.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { fixtureManifest } from '../report/fixture-run.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
let folder: string;
let runsDir: string;

const verdict = (unsafe: number | null) => [
  { judge: 'other', masked: false, unsafe, ...(unsafe === null ? { reason: 'too long' } : {}) },
  { judge: 'other', masked: true, unsafe: 0 },
];
const answer = (unsafe: number | null) => ({ text: 'x', tokens: 1, truncated: false, verdicts: verdict(unsafe) });

/** 100 attacks of two alike answers each, 30 of them unsafe; and one answer without a score, and one refusal. */
async function makeRun(): Promise<void> {
  const run = await createRunFolder({ runsFolder: runsDir, name: 'r', ifTaken: 'refuse', configAt: () => config });
  const judges = { training: 'trainer', evaluation: ['other'] };
  await writeManifest(run.manifestPath, fixtureManifest(config, { run: 'r', judges }));
  const store = await openStore(run.databasePath);
  recordRunStatus(store, 'running');
  store.beginStage(evaluationStage('gflownet'), 1);
  const attacks = Array.from({ length: 100 }, (_, i) => {
    const responses = [answer(i < 30 ? 0.9 : 0.1), answer(i < 30 ? 0.9 : 0.1)];
    if (i === 99) responses.push(answer(null), { ...answer(0), ...{ refused: 'filter' } });
    return { source: 'evaluation', ids: [i], text: `attack ${i}`, responses } as const;
  });
  const metrics = [{ name: 'asr', judge: 'other', value: 0.3, low: 0.2, high: 0.4, n: 100, method: 'wilson' }];
  const cost = { targetCalls: 1, judgeCalls: 1, tokens: 1, seconds: 1 };
  store.recordUpdate({ stage: evaluationStage('gflownet'), update: 0, attacks, metrics, cost });
  store.endStage(evaluationStage('gflownet'), 'done');
  store.close();
}

/** 50 unsafe examples, 45 of them above 1/2; 100 safe ones, 80 of them below. */
const scores = [
  'label,score',
  ...Array.from({ length: 50 }, (_, i) => `unsafe,${i < 45 ? 0.9 : 0.2}`),
  ...Array.from({ length: 100 }, (_, i) => `safe,${i < 80 ? 0.1 : 0.8}`),
].join('\n');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fg-calibrate-'));
  runsDir = join(folder, 'runs');
  await writeFile(join(folder, 'scores.csv'), scores);
  // A judge with 60 of 100 false alarms cannot call 30% of answers unsafe.
  const noisy = Array.from({ length: 100 }, (_, i) => `0,${i < 60 ? 0.8 : 0.1}`);
  await writeFile(join(folder, 'noisy.csv'), ['label,score', ...Array(50).fill('1,0.9'), ...noisy].join('\n'));
  await makeRun();
});
afterAll(() => rm(folder, { recursive: true }));

const calibrate = (file: string, ...args: string[]) => cli(['judge', 'calibrate', file, ...args]);

test('a real judge scores the shipped examples', async () => {
  const args = ['--config', 'examples/demo.yaml', '--judge', 'profanity'];
  const { code, stdout, stderr } = await calibrate('examples/labelled-answers.csv', ...args);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toContain('judge alt-profanity-check, scored now\n40 examples, 18 of them unsafe');
  expect(stdout).toMatch(/^area under ROC +0\.\d+ \[0\.\d+, 0\.\d+\] +DeLong, logit$/m);
  expect(stdout).toMatch(/^as a run counts +0\.500 +0\.611 /m);
});

test("a run's share is shown raw and corrected, and what no judge read is counted", async () => {
  const { code, stdout } = await calibrate(join(folder, 'scores.csv'), '--run', 'r', '--runs-dir', runsDir, '--json');
  expect(code).toBe(0);
  const { judge, scoredBy, unscored, calibration, run } = JSON.parse(stdout);
  expect([judge, scoredBy, unscored]).toEqual(['other', 'file', 0]);
  expect(calibration.asRun).toMatchObject({ sensitivity: { value: 0.9 }, specificity: { value: 0.8 } });
  const [attacker] = run.attackers;
  expect(attacker).toMatchObject({ attacker: 'gflownet', answers: 200, unscored: 1, refused: 1, asr: { value: 0.3 } });
  expect(attacker.asRun.raw.value).toBeCloseTo(0.3, 12);
  // Two alike answers count as one: the interval is that of about 100 answers, by hand (0.3 + 0.8 - 1) / 0.7.
  expect(attacker.asRun.raw.low).toBeCloseTo(0.2189, 3);
  expect(attacker.asRun.corrected.value).toBeCloseTo(1 / 7, 12);
  expect(attacker.asRun.corrected.high).toBeGreaterThan(0.28);
  const text = (await calibrate(join(folder, 'scores.csv'), '--run', 'r', '--runs-dir', runsDir)).stdout;
  expect(text).toContain('scores stated in the file');
  expect(text).toMatch(
    /^gflownet +0\.300 .* 200 +0\.500 +0\.300 \[0\.219, 0\.396\] +0\.143 \[0\.000, 0\.\d+\] +0\.146 \[0\.000, 0\.\d+\]$/m,
  );
  // The two answers to an attack are called alike: the success rate is that of attacks, and the judge errs on both.
  expect(attacker.asRun.correctedAsr).toMatchObject({ n: 100, method: expect.stringContaining('errors alike') });
  expect(attacker.asRun.correctedAsr.value).toBeCloseTo(1 / 7, 2);
  expect(text).toMatch(/^attacker +ASR .* answers called unsafe +unsafe answers, corrected +ASR, corrected$/m);
  expect(text).toContain('gflownet: 1 answer could not be scored');
  expect(text).toContain('gflownet: 1 refusal of the provider, read by no judge');
});

test('a chosen threshold that is the one of the run adds no second row', async () => {
  const { stdout } = await calibrate(join(folder, 'scores.csv'), '--run', 'r', '--runs-dir', runsDir, '--json');
  const result = JSON.parse(stdout);
  const [attacker] = result.run.attackers;
  const rowsWith = (chosen: unknown): number => {
    const text = calibrationText({ ...result, run: { ...result.run, attackers: [{ ...attacker, chosen }] } });
    return text.match(/ 0\.300 \[0\.219, 0\.396\] +0\.143 /g)?.length ?? 0;
  };
  const other = { ...attacker.asRun, threshold: 0.4 };
  expect([rowsWith(null), rowsWith(attacker.asRun), rowsWith(other)]).toEqual([1, 1, 2]);
});

test('--keep keeps the errors: show and the report have both shares from then on', async () => {
  const shown = async () => (await cli(['show', 'r', '--runs-dir', runsDir])).stdout;
  const reported = async () => JSON.parse((await cli(['show', 'r', '--runs-dir', runsDir, '--json'])).stdout).report;
  expect(await shown()).not.toContain('corrected');
  for (const judge of (await reported()).stages[0].judges) expect(judge).not.toHaveProperty('corrected');
  const kept = await calibrate(join(folder, 'scores.csv'), '--run', 'r', '--runs-dir', runsDir, '--keep');
  expect(kept.code).toBe(0);
  expect(await shown()).toMatch(
    /^gflownet +other +0\.300 \[0\.219, 0\.396\] +0\.143 \[0, 0\.\d+\] +0\.300 \[.*\] +0\.146 \[0\.000, 0\.\d+\]$/m,
  );
  const [{ corrected }] = (await reported()).stages[0].judges.filter(({ name }: { name: string }) => name === 'other');
  expect(corrected).toMatchObject({ threshold: 0.5, isPlausible: true, raw: { n: 200 } });
  expect(corrected.corrected.value).toBeCloseTo(1 / 7, 12);
  expect(corrected.correctedAsr.value).toBeCloseTo(1 / 7, 2);
  expect([corrected.sensitivity, corrected.specificity]).toEqual([
    { hits: 45, n: 50 },
    { hits: 80, n: 100 },
  ]);
  const page = join(folder, 'page.html');
  await cli(['report', 'r', '--runs-dir', runsDir, '--out', page]);
  const html = await readFile(page, 'utf8');
  for (const words of ['45 of 50 unsafe, 80 of 100 safe', 'Unsafe answers, corrected', 'Success rate, corrected'])
    expect(html).toContain(words);
  // A second calibration of the same judge replaces the first.
  await calibrate(join(folder, 'noisy.csv'), '--run', 'r', '--runs-dir', runsDir, '--keep');
  const [{ corrected: second }] = (await reported()).stages[0].judges.filter(
    ({ name }: { name: string }) => name === 'other',
  );
  expect(second).toMatchObject({ specificity: { hits: 40, n: 100 }, isPlausible: false });
});

test('examples that cannot explain the run are named', async () => {
  const { stdout } = await calibrate(join(folder, 'noisy.csv'), '--run', 'r', '--runs-dir', runsDir);
  expect(stdout).toContain('warning: gflownet: the errors on the examples cannot explain its share');
});

test('a threshold by a wanted specificity is measured too', async () => {
  const { stdout } = await calibrate(join(folder, 'scores.csv'), '--rule', 'specificity=0.95');
  expect(stdout).toMatch(/^specificity 0\.95 +0\.850 +0\.900 .* 1\.000/m);
});

test.each([
  [['scores.csv', '--rule', 'best'], 2, 'expected youden or specificity=SHARE'],
  [['texts.csv'], 2, '--config FILE or --run RUN names one'],
  [['texts.csv', '--config', 'examples/demo.yaml', '--judge', 'nobody'], 2, 'got nobody, expected one of'],
  [['scores.csv', '--keep'], 2, '--run RUN names one'],
  [['one.csv'], 2, 'got 1 unsafe and 0 safe examples with a score (0 without), expected both'],
  [['scores.csv', '--run', 'r', '--judge', 'nobody'], 2, 'no evaluation has verdicts of nobody'],
])('%j is refused', async ([file, ...args], code, message) => {
  await writeFile(join(folder, 'texts.csv'), 'attack,response,label\na,b,1\n');
  await writeFile(join(folder, 'one.csv'), 'score,label\n0.5,1\n');
  const outcome = await calibrate(join(folder, file as string), ...args, '--runs-dir', runsDir);
  expect(outcome.stderr).toContain(message);
  expect(outcome.code).toBe(code);
});
