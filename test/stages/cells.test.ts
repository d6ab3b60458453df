import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type Report, type ReportStage, reportSchema } from '../../src/report/figures/report-json.ts';
import { writeReportPage } from '../../src/report/write-report.ts';
import { openStore, type RunStore } from '../../src/runs/store/run-store.ts';
import { cli } from '../cli/cli-runner.ts';
import { createStoppedCampaign, type StoppedCampaign } from './stopped-campaign.ts';

const CELLS = ['cats', 'dogs'];
const ATTACKERS = ['sft', 'icl', 'gflownet', 'smoothing', 'reinforce', 'ppo', 'best-of-n'];

const OVERRIDES = [
  'attacker.cells=[{ name: cats, text: a cat on a mat }, { name: dogs }]',
  'attacker.metaPrompt=say {cell} now',
  `attackers=[${ATTACKERS.join(', ')}]`,
  'sft={updates: 6, batchSize: 4, warmupUpdates: 0, validationShare: 0.2}',
  'gflownet.updates=10',
  'gflownet.batchSize=8',
  'gflownet.warmupUpdates=0',
  'gflownet.checkpointEveryUpdates=3',
  'gflownet.updatesPerBatch=2',
  'gflownet.sampling.rewriteShare=0.3',
  'gflownet.spread={eta: 0.5, cosine: 0.9}',
  'gflownet.replay={seedWithReference: 60, seedCandidates: 2, draw: mixed, rescore: true}',
  'gflownet.cycles={count: 2, updates: 2}',
  'reinforce={updates: 4, batchSize: 6, microBatchSize: 4, warmupUpdates: 0}',
  'ppo={updates: 4, batchSize: 6, microBatchSize: 4, warmupUpdates: 0}',
  'bestOfN.targetCalls=16',
  'watch={everyUpdates: 4, attacks: 8}',
  'collect.minUnsafe=0.4',
  'smoothing={updates: 6, batchSize: 4, weights: balanced, clusters: ngram, rescore: false, warmupUpdates: 0}',
  'evaluation={attacks: 11, responses: 1, controls: 0, causes: {clusters: 0}}',
];

let campaign: StoppedCampaign;
beforeAll(async () => {
  campaign = await createStoppedCampaign({ unsafeLetters: ['a', 'e'], overrides: OVERRIDES });
});
afterAll(async () => {
  await campaign.tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

async function withStore<T>(use: (store: RunStore, report: Report) => T, depth = 0): Promise<T> {
  const { folder } = await campaign.wholeRun(depth);
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return use(store, reportSchema.parse(JSON.parse(readFileSync(folder.reportPath, 'utf8'))));
  } finally {
    store.close();
  }
}

/** Cells of the attacks of each update of a stage, by its number. */
function cellsByUpdate(store: RunStore, stage: string): Map<number, Set<string | null>> {
  const cells = new Map<number, Set<string | null>>();
  for (const { update, cell } of store.attacks({ stage, fromUpdate: 0 })) {
    cells.set(update, (cells.get(update) ?? new Set()).add(cell));
  }
  return cells;
}

test('every update learns from attacks of one cell, and each cell gets its turn', async () => {
  await withStore((store) => {
    for (const stage of ['gflownet', 'reinforce', 'ppo']) {
      const cells = cellsByUpdate(store, stage);
      expect(
        [...cells.values()].every((each) => each.size === 1),
        stage,
      ).toBe(true);
      expect(new Set([...cells.values()].flatMap((each) => [...each])), stage).toEqual(new Set(CELLS));
    }
    expect([...(cellsByUpdate(store, 'gflownet').get(0) ?? [])]).toEqual(['cats']);
    expect([...(cellsByUpdate(store, 'gflownet').get(2) ?? [])]).toEqual(['dogs']);
    expect([...cellsByUpdate(store, 'ppo').values()].map((each) => [...each][0])).toEqual([...CELLS, ...CELLS]);
  });
}, 400_000);

test('a replayed attack was tried in the same cell before', async () => {
  await withStore((store) => {
    const attacks = store.attacks({ stage: 'gflownet', fromUpdate: -1 });
    const tried = new Set<string>();
    let replayed = 0;
    for (const { source, cell, ids } of attacks) {
      const key = JSON.stringify([cell, ids]);
      if (source === 'replay') {
        replayed++;
        expect(tried).toContain(key);
      } else tried.add(key);
    }
    expect(replayed).toBeGreaterThan(20);
  });
});

test('the first attacks of the reference are shared equally, and seeds go to the cells that are nearest', async () => {
  await withStore((store) => {
    const first = store.attacks({ stage: 'gflownet', fromUpdate: -1, toUpdate: -1 });
    const ofReference = first.filter(({ source }) => source === 'reference').map(({ cell }) => cell);
    expect(ofReference.sort()).toEqual([...Array(30).fill('cats'), ...Array(30).fill('dogs')]);
    const seeds = first.filter(({ source }) => source === 'seed');
    expect(seeds.length).toBeGreaterThan(5);
    const texts = readFileSync(path.join(campaign.tiny.folder, 'seeds.txt'), 'utf8').split('\n');
    const nearest = JSON.parse(store.info('cells of seeds') ?? '[]') as string[];
    expect(new Set(nearest)).toEqual(new Set(CELLS));
    const written = seeds.map(({ text }) => texts.findIndex((seed) => seed.startsWith(text))); // a long one is cut
    expect(seeds.map(({ cell }) => cell)).toEqual(written.map((at) => nearest[at]));
  });
});

test('an evaluation has as many attacks of each cell, and measures each by itself', async () => {
  await withStore((store, report) => {
    for (const attacker of ATTACKERS) {
      const attacks = store.attacks({ stage: `evaluate:${attacker}` });
      expect(attacks.map(({ cell }) => cell)).toEqual(attacks.map((_, i) => CELLS[i % 2]));
      const { cells = [], metrics } = report.stages.find(({ name }) => name === attacker) as ReportStage;
      expect(cells.map(({ name, tried }) => [name, tried])).toEqual([
        ['cats', 6],
        ['dogs', 5],
      ]);
      for (const { name, asr, wordings } of cells) {
        const successes = attacks.filter(
          ({ id, cell }) => cell === name && store.responses(id)[0]?.text === 'alarm bell',
        );
        expect(asr).toMatchObject({ value: successes.length / (name === 'cats' ? 6 : 5), method: 'wilson' });
        expect(wordings).toBeLessThanOrEqual(successes.length);
        expect(wordings > 0).toBe(successes.length > 0);
      }
      const reached = cells.filter(({ asr }) => (asr.value ?? 0) > 0).length;
      expect(metrics.cellsReached).toMatchObject({ value: reached, n: 2 });
      expect(Object.keys(metrics).filter((name) => name.startsWith('cell'))).toEqual(['cellsReached']);
    }
  });
});

test('show and the page name the cells; a copy to pass on leaves out what the prompt says of them', async () => {
  const { folder } = await campaign.wholeRun();
  const shown = await cli(['show', folder.name, '--runs-dir', campaign.tiny.runsFolder]);
  expect(shown.stdout).toMatch(/^stage +cell +tried +ASR +wordings$/m);
  expect(shown.stdout).toMatch(/^gflownet +cats +6 +/m);
  const page = readFileSync(path.join(folder.path, 'report.html'), 'utf8');
  expect(page).toContain('<section id="cells"');
  expect(page).toMatch(/<th scope="row">dogs<\/th><td[^>]*>5<\/td>/);
  expect(page).toContain('a cat on a mat');
  const copy = path.join(campaign.tiny.folder, 'copy.html');
  await writeReportPage(folder, { path: copy, withTexts: false }, campaign.tiny.io());
  const passedOn = readFileSync(copy, 'utf8');
  expect(passedOn).toContain('<section id="cells"');
  expect(passedOn).not.toContain('a cat on a mat');
});

test('an export says of each attack which cell it was written for', async () => {
  const { folder } = await campaign.wholeRun();
  const { tiny } = campaign;
  const out = path.join(tiny.folder, 'cells.jsonl');
  const { code } = await cli(['export', folder.name, '--format', 'jsonl', '--out', out, '--runs-dir', tiny.runsFolder]);
  expect(code).toBe(0);
  const rows = readFileSync(out, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: number; phase: string; cell: string | null });
  expect(rows.filter(({ phase }) => phase === 'evaluation').length).toBe(11 * ATTACKERS.length);
  await withStore((store) => {
    const cells = new Map(
      store
        .stages()
        .flatMap(({ name }) =>
          store.attacks({ stage: name, fromUpdate: -1 }).map(({ id, cell }) => [id, cell] as const),
        ),
    );
    expect(rows.map(({ cell }) => cell)).toEqual(rows.map(({ id }) => cells.get(id)));
  });
  expect(new Set(rows.map(({ cell }) => cell))).toEqual(new Set(CELLS));
});

test('smoothing collects attacks with their cells', async () => {
  const { folder } = await campaign.wholeRun();
  const file = `${folder.checkpointsPath}/collection.json`;
  const { attacks } = JSON.parse(readFileSync(file, 'utf8')) as { attacks: { cell: string }[] };
  expect(new Set(attacks.map(({ cell }) => cell))).toEqual(new Set(CELLS));
});

test('a batch asked ahead is learned in its own cell', async () => {
  const ahead = ['gflownet.pipeline.depth=1', 'gflownet.updatesPerBatch=1', 'gflownet.cells={calls: equal}'];
  const short = ['attackers=[gflownet]', 'gflownet.updates=4', 'gflownet.cycles.count=1'];
  const { folder } = await campaign.start('ahead', [...ahead, ...short]);
  const store = await openStore(folder.databasePath, { readOnly: true });
  const cells = cellsByUpdate(store, 'gflownet');
  store.close();
  const own = [1, 2, 3].map((update) => [...(cells.get(update) ?? [])].sort());
  expect(own).toEqual([['cats'], ['dogs'], CELLS]); // the last update takes both batches that are left
}, 100_000);

test.each([
  ['while an update asks', /^response 4 \d+$/, 0],
  ['while the seeds are tried', /^seed 6[4-9]$/, 0],
  ['while a batch is asked ahead', /^response 6 \d+$/, 1],
])(
  'Ctrl-C %s: resumed, the run is the same byte for byte',
  async (what, at, depth) => {
    const differences = await campaign.differencesOfResumed(what.replaceAll(' ', '-'), at, depth);
    // Ctrl-C inside an update leaves a checkpoint there, which takes the place of the one before.
    expect(differences.filter((each) => !/^checkpoint gflownet-000000[46789]/.test(each))).toEqual([]);
  },
  100_000,
);

test('a cell that no seed is of is told once, and so is a cell that the file does not know', async () => {
  writeFileSync(path.join(campaign.tiny.folder, 'named.csv'), 'prompt,cell\nhello you,cats\ngo on now,cats\n');
  const seeds = 'seeds={ path: named.csv }';
  const { folder } = await campaign.start('named', [seeds, 'attackers=[sft, icl]', 'encoder.model=./encoder']);
  const store = await openStore(folder.databasePath, { readOnly: true });
  const kept = JSON.parse(store.info('cells of seeds') ?? '[]') as string[];
  const warnings = store.events().filter(({ code }) => code === 'cells-without-seeds');
  store.close();
  expect(kept).toEqual(['cats', 'cats']);
  expect(warnings).toHaveLength(1);
  writeFileSync(path.join(campaign.tiny.folder, 'wrong.csv'), 'prompt,cell\nhello,birds\n');
  await expect(campaign.start('wrong', ['seeds={ path: wrong.csv }'])).rejects.toThrow(
    /got cell birds, expected .*cats, dogs/,
  );
}, 60_000);
