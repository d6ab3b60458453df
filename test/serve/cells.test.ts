import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { exportAttacker } from '../../src/exports/export-attacker.ts';
import { importAttacker } from '../../src/exports/import-attacker.ts';
import { openAttacker } from '../../src/learning/attacker.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openServedExport, type ServedModel } from '../../src/serve/served-model.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import {
  openTrainedAttacker,
  sampleAttacks,
  sampleExportedAttacks,
  type TrainedAttacker,
} from '../../src/stages/campaign/sample-attacks.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { type Served, serveForTest } from './served.ts';

const CELLS = [
  { name: 'cats', text: 'a cat' },
  { name: 'dogs', text: 'dogs and more dogs' },
];
const OVERRIDES = [
  `attacker.cells=${JSON.stringify(CELLS)}`,
  'attacker.metaPrompt=say {cell} now',
  'attackers=[sft]',
  'sft={updates: 30, batchSize: 5, warmupUpdates: 0, learningRate: 0.03}',
  'evaluation={attacks: 4, responses: 1, controls: 0, causes: {clusters: 0}}',
];

let tiny: TinyCampaign;
let folder: RunFolder;
let opened: TrainedAttacker;
let served: Served;
beforeAll(async () => {
  tiny = await createTinyCampaign();
  const run = {
    config: tiny.config(OVERRIDES),
    runsFolder: tiny.runsFolder,
    name: 'cells',
    ifTaken: 'refuse',
  } as const;
  folder = await startRun(run, tiny.io());
  opened = await openTrainedAttacker(folder, 'sft', tiny.io());
  const exported = path.join(tiny.folder, 'exported');
  await exportAttacker(folder, { path: exported }, tiny.io());
  const base = path.join(tiny.folder, 'attacker');
  await importAttacker({ folder: exported, runsFolder: tiny.runsFolder, name: 'imported', base }, tiny.io());
  served = await serveForTest(await openServedExport(importedFolder(), tiny.io(), { threads: 1 }));
}, 60_000);
afterAll(async () => {
  await served.close();
  await opened.close();
  await tiny.remove();
});

const importedFolder = () => ({ name: 'imported', path: path.join(tiny.runsFolder, 'imported') });

const requestsOf = (cells: readonly string[]) =>
  cells.map((cell, i) => ({ stream: randomStream(1, 'cells', i), temperature: 1, cell }));

it('an attack of a cell continues the prompt with the text of the cell, in sampling and in scoring', async () => {
  const { attacker, state } = opened;
  const drawn = await attacker.sample(state, requestsOf(['cats', 'dogs', 'dogs', 'cats', 'dogs']));
  expect(drawn.map(({ cell }) => cell)).toEqual(['cats', 'dogs', 'dogs', 'cats', 'dogs']);
  const scored = await attacker.score(state, drawn);
  const { cells: _cells, ...spec } = attacker.spec;
  for (const { name, text } of CELLS) {
    const plain = await openAttacker({ ...spec, metaPrompt: `say ${text} now` }, { device: 'cpu', threads: 1 });
    try {
      expect(plain.prompt).toEqual(attacker.promptOf(name));
      const places = drawn.flatMap(({ cell }, i) => (cell === name ? [i] : []));
      const alone = await plain.sample(
        state,
        places.map((i) => ({ stream: randomStream(1, 'cells', i), temperature: 1 })),
      );
      const ofPlain = await plain.score(state, alone);
      for (const [at, i] of places.entries()) {
        expect(alone[at]?.tokens).toEqual(drawn[i]?.tokens);
        expect(alone[at]?.logPi).toBeCloseTo(drawn[i]?.logPi as number, 3);
        const sum = (values: Float32Array | undefined) => [...(values ?? [])].reduce((a, b) => a + b, 0);
        expect(sum(scored[i])).toBeCloseTo(sum(ofPlain[at]), 3);
      }
    } finally {
      await plain.close();
    }
  }
});

it('an attacker with cells has no prompt of its own, and knows no other cell', async () => {
  const { attacker, state } = opened;
  expect(attacker.cells).toEqual(['cats', 'dogs']);
  expect(() => attacker.prompt).toThrow(/got none, expected cats, dogs/);
  expect(() => attacker.promptOf('birds')).toThrow(/got birds, expected cats, dogs/);
  await expect(attacker.sample(state, [{ stream: randomStream(1), temperature: 1 }])).rejects.toThrow(/got none/);
});

it('the exported attacker names its cells, and writes what the run’s attacker writes', async () => {
  const file = JSON.parse(await readFile(path.join(tiny.folder, 'exported', 'floodgate-attacker.json'), 'utf8'));
  expect(file.policy).toMatchObject({ metaPrompt: 'say {cell} now', cells: CELLS });
  const card = await readFile(path.join(tiny.folder, 'exported', 'README.md'), 'utf8');
  expect(card).toContain('| categories | `cats`, `dogs` |');
  const plan = { count: 6, temperature: 1, seed: 5 };
  const ofRun = await sampleAttacks(folder, { ...plan, stage: 'sft' }, tiny.io());
  expect(ofRun.map(({ cell }) => cell)).toEqual(['cats', 'dogs', 'cats', 'dogs', 'cats', 'dogs']);
  expect(await sampleExportedAttacks(importedFolder(), plan, tiny.io())).toEqual(ofRun);
});

const contents = async (body: object): Promise<(string | null)[]> => {
  const request = { model: 'imported', n: 8, messages: [{ role: 'user' as const, content: '' }], ...body };
  const { choices } = await served.client.chat.completions.create(request);
  return choices.map(({ message }) => message.content);
};

it('a request may name the cell; a seed repeats the one that is drawn', async () => {
  const cats = await contents({ seed: 3, cell: 'cats' });
  const dogs = await contents({ seed: 3, cell: 'dogs' });
  expect(cats).not.toEqual(dogs);
  const drawn = new Set<string>();
  for (let seed = 0; seed < 8; seed++) {
    const any = JSON.stringify(await contents({ seed }));
    const named = { cats: await contents({ seed, cell: 'cats' }), dogs: await contents({ seed, cell: 'dogs' }) };
    const cell = Object.entries(named).find(([, texts]) => JSON.stringify(texts) === any)?.[0];
    drawn.add(cell ?? 'neither');
    expect(JSON.stringify(await contents({ seed }))).toBe(any);
  }
  expect(drawn).toEqual(new Set(['cats', 'dogs']));
});

it('a request for a cell that is not there is refused', async () => {
  await expect(contents({ cell: 'birds' })).rejects.toMatchObject({ status: 400, param: 'cell' });
  const { cells: _cells, ...plain } = served.model as ServedModel;
  const other = await serveForTest({ ...plain, close: async () => undefined });
  const body = { model: 'imported', messages: [{ role: 'user' as const, content: '' }], cell: 'cats' };
  await expect(other.client.chat.completions.create(body)).rejects.toMatchObject({ status: 400, param: 'cell' });
  await other.close();
});
