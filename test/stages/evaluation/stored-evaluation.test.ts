import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../../src/runs/store/stage-name.ts';
import { evaluateRun, resumeRun, startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

const SHORT = ['sft.updates=2', 'gflownet.updates=2', 'gflownet.warmupUpdates=1', 'watch.everyUpdates=0'];
const MEASURED = ['attackers=[sft, gflownet]', 'evaluation.controls=0', 'evaluation.causes.clusters=4'];

let tiny: TinyCampaign;
let folder: RunFolder;

const start = (name: string, attacks: number) => {
  const config = tiny.config([...SHORT, ...MEASURED, `evaluation.attacks=${attacks}`]);
  return startRun({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());
};

beforeAll(async () => {
  tiny = await createTinyCampaign();
  folder = await start('measured', 40);
}, 120_000);
afterAll(() => tiny.remove());

async function read<T>(run: RunFolder, reader: (store: RunStore) => T): Promise<T> {
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    return reader(store);
  } finally {
    store.close();
  }
}

const content = (run: RunFolder, stage: string) =>
  read(run, (store) => ({
    attacks: store
      .attacks({ stage: evaluationStage(stage) })
      .map(({ text, logPi, meanUnsafe }) => ({ text, logPi, meanUnsafe })),
    metrics: store
      .metrics(evaluationStage(stage))
      .map(({ name, judge, value, low, high, n }) => ({ name, judge, value, low, high, n }))
      .filter(({ name }) => !/calls/i.test(name)),
  }));

const everything = (run: RunFolder) =>
  read(run, (store) => ({
    stages: store.stages(),
    events: store.events(),
    status: store.info('status'),
    sft: store.attacks({ stage: evaluationStage('sft') }),
  }));

describe('what is measured already', { timeout: 120_000 }, () => {
  test('a stage that the run has not trained is refused before anything is written', async () => {
    const before = await everything(folder);
    await expect(evaluateRun(folder, ['sft', 'ppo'], { attacks: 64 }, tiny.io())).rejects.toMatchObject({
      code: 'usage',
      message:
        'evaluate measured: stage ppo is not trained in this run, got ppo, expected one of icl, sft, gflownet, best-of-n',
      hint: 'a new run with attackers: [sft, gflownet, ppo] trains it',
    });
    await expect(evaluateRun(folder, ['exact'], {}, tiny.io())).rejects.toMatchObject({ code: 'usage' });
    expect(await everything(folder)).toEqual(before);
  });

  test.each([{ attacks: 8 }, { responses: 1 }, { seed: 9, attacks: 80 }, { temperature: 0.5 }])(
    'nothing is replaced without a word: %o',
    async (request) => {
      const before = await everything(folder);
      await expect(evaluateRun(folder, ['gflownet'], request, tiny.io())).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/gflownet is measured already, by 40 attacks \(responses 2, .*, got/),
        hint: expect.stringContaining('--replace'),
      });
      expect(await everything(folder)).toEqual(before);
    },
  );

  test('more attacks are added to the stored ones, and measure what one evaluation would have', async () => {
    const whole = await start('whole', 70);
    const before = await read(folder, (store) => store.attacks({ stage: evaluationStage('sft') }));
    await evaluateRun(folder, ['sft'], { attacks: 70 }, tiny.io());
    const after = await read(folder, (store) => store.attacks({ stage: evaluationStage('sft') }));
    expect(after.slice(0, 40)).toEqual(before);
    expect(await content(folder, 'sft')).toEqual(await content(whole, 'sft'));
  });

  test('the same request again asks nothing, and says so', async () => {
    const said: string[] = [];
    const io = tiny.io();
    const before = await content(folder, 'gflownet');
    const cost = () => read(folder, (store) => store.cost(evaluationStage('gflownet')));
    const paid = await cost();
    await evaluateRun(
      folder,
      ['gflownet'],
      {},
      { ...io, progress: { ...io.progress, say: (line) => said.push(line) } },
    );
    expect(await content(folder, 'gflownet')).toEqual(before);
    expect(await cost()).toEqual(paid);
    expect(said).toEqual(['evaluate:gflownet: 40 attacks are stored already; nothing was asked']);
  });

  test('a resume finishes an evaluation as it was asked for, of a stage outside the config too', async () => {
    const run = await start('stopped', 40);
    const stopped = new AbortController();
    const io = tiny.io(stopped.signal);
    const stopping = {
      ...io,
      progress: {
        start: (label: string) => ({
          update: (done: number) => void (label === 'evaluate:best-of-n' && done >= 32 && stopped.abort()),
          finish: () => undefined,
        }),
      },
    };
    await expect(evaluateRun(run, ['best-of-n'], { attacks: 48, seed: 5 }, stopping)).rejects.toMatchObject({
      code: 'interrupted',
    });
    await resumeRun(run, tiny.io());
    const rows = await read(run, (store) => store.stages().filter(({ name }) => name.endsWith('best-of-n')));
    expect(rows.map(({ name, status }) => [name, status])).toEqual([
      ['causes:best-of-n', 'done'],
      ['evaluate:best-of-n', 'done'],
    ]);
    expect((await content(run, 'best-of-n')).attacks).toHaveLength(48);
  });

  test('a run that has trained nothing is left as it is', async () => {
    const run = await start('empty', 40);
    await rm(path.join(run.path, 'run.db'));
    await expect(evaluateRun(run, ['sft'], {}, tiny.io())).rejects.toMatchObject({
      code: 'usage',
      hint: 'floodgate resume empty trains it',
    });
  });
});
