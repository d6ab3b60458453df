import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
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

type Scores = Readonly<Record<string, number | null>>;

const answer = (text: string, scores: Scores) => ({
  text,
  tokens: 1,
  truncated: false,
  verdicts: [
    ...Object.entries(scores).map(([judge, unsafe]) => ({ judge, masked: false, unsafe })),
    { judge: 'strict', masked: true, unsafe: 0 },
  ],
});

interface FixtureStage {
  readonly name: string;
  readonly scores: readonly Scores[];
}

async function makeRun(name: string, stages: readonly FixtureStage[]): Promise<void> {
  const run = await createRunFolder({ runsFolder: runsDir, name, ifTaken: 'refuse', configAt: () => config });
  await writeManifest(
    run.manifestPath,
    fixtureManifest(config, { run: name, judges: { training: 'strict', evaluation: ['mild'] } }),
  );
  const store = await openStore(run.databasePath);
  recordRunStatus(store, 'running');
  const cost = { targetCalls: 1, judgeCalls: 1, tokens: 1, seconds: 1 };
  for (const { name: stage, scores } of stages) {
    store.beginStage(evaluationStage(stage), 1);
    const attacks = scores.map((each, i) => {
      const responses = [answer(`secret answer\n${i}`, each), { ...answer('', each), refused: 'filter' }];
      return { source: 'evaluation', ids: [i], text: `secret attack \u001b[31m ${i}`, responses } as const;
    });
    store.recordUpdate({ stage: evaluationStage(stage), update: 0, attacks, metrics: [], cost });
    store.endStage(evaluationStage(stage), 'done');
  }
  store.close();
}

/** 20 answers that both call unsafe, 5 and 10 that one does, 15 that none does, and one without a verdict of `mild`. */
const mixed: Scores[] = [
  ...Array.from({ length: 20 }, () => ({ strict: 0.9, mild: 0.8 })),
  ...Array.from({ length: 5 }, () => ({ strict: 0.7, mild: 0.4 })),
  ...Array.from({ length: 10 }, (_, i) => ({ strict: 0.2, mild: i === 3 ? 0.99 : 0.6 })),
  ...Array.from({ length: 15 }, () => ({ strict: 0.1, mild: 0.1 })),
  { strict: 0.9, mild: null },
];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fg-agree-'));
  runsDir = join(folder, 'runs');
  await makeRun('r', [
    { name: 'gflownet', scores: mixed },
    {
      name: 'ppo',
      scores: [
        { strict: 0.9, mild: 0.9, third: 0.9 },
        { strict: 0.1, mild: 0.1, third: 0.1 },
      ],
    },
  ]);
  await makeRun('alone', [{ name: 'icl', scores: [{ strict: 0.9 }] }]);
  await makeRun('early', []);
});
afterAll(() => rm(folder, { recursive: true }));

const agree = (...args: string[]) => cli(['judge', 'agree', ...args, '--runs-dir', runsDir]);

test('agreement and kappa of each pair, by the answers that both could score', async () => {
  const { code, stdout } = await agree('r', '--attacker', 'gflownet', '--json');
  expect(code).toBe(0);
  const { attackers, answers, refused, judges, pairs } = JSON.parse(stdout);
  expect([attackers, answers, refused]).toEqual([['gflownet'], 51, 51]);
  expect(judges).toEqual([
    { name: 'mild', scored: 50, unscored: 1 },
    { name: 'strict', scored: 51, unscored: 0 },
  ]);
  const [pair] = pairs;
  expect(pair).toMatchObject({
    first: 'mild',
    second: 'strict',
    excluded: 1,
    counts: { both: 20, onlyFirst: 10, onlySecond: 5, neither: 15 },
    disagreementCount: 15,
  });
  expect(pair.agreement.value).toBeCloseTo(0.7, 12);
  expect(pair.kappa.value).toBeCloseTo(0.4, 12);
  expect(pair.kappa.low).toBeLessThan(0.4);
  expect(pair.disagreements).toHaveLength(10);
  expect(pair.disagreements[0]).toEqual({ attacker: 'gflownet', attack: 29, answer: 0, first: 0.99, second: 0.2 });
  expect(stdout).not.toContain('secret');
});

test('all attackers and pairs together, texts hidden', async () => {
  const { code, stdout } = await agree('r', '--disagreements', '2');
  expect(code).toBe(0);
  expect(stdout).toContain('run r: 53 answers to the attacks of gflownet, ppo');
  expect(stdout).toContain('left out: 53 refusals of the provider, read by no judge');
  expect(stdout).toMatch(/^mild +52 +1 could not be scored$/m);
  expect(stdout).toMatch(/^mild and strict\nagreement +0\.712 \[0\.\d+, 0\.\d+\]\nkappa +0\.\d+ \[0\.\d+, 0\.\d+\]$/m);
  expect(stdout).toMatch(/^mild and third\nagreement +1\.000 \[0\.\d+, 1\.000\]\nkappa +1\.000$/m);
  expect(stdout).toMatch(/^without two scores +51$/m);
  expect(stdout).toMatch(/^gflownet +29 +1 +0\.990 +0\.200$/m);
  expect(stdout).toContain('13 more: --disagreements 15');
  expect(stdout).toContain('texts are hidden: --show-attacks shows them');
  expect(stdout).not.toContain('secret');
});

test('--show-attacks shows the texts, in which nothing moves the terminal', async () => {
  const { stdout } = await agree('r', '--disagreements', '1', '--show-attacks');
  expect(stdout).toContain('    secret attack \\u{1b}[31m 28\n    > secret answer\\n28\n');
  expect(stdout).not.toContain('\u001b');
  const json = JSON.parse((await agree('r', '--disagreements', '1', '--show-attacks', '--json')).stdout);
  expect(json.pairs[0].disagreements[0]).toMatchObject({ responseText: 'secret answer\n28' });
});

test.each([
  [['r', '--attacker', 'icl'], 'got icl, expected one of gflownet, ppo'],
  [['alone'], 'got verdicts of one judge, strict, expected two judges or more'],
  [['early'], 'it has evaluated no attacker yet'],
  [['r', '--disagreements', 'x'], 'expected a whole number'],
])('%j is refused', async (args, message) => {
  const { code, stderr } = await agree(...args);
  expect(stderr).toContain(message);
  expect(code).toBe(2);
});
