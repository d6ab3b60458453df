import { appendFile, cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openRunFolder, type RunFolder } from '../../src/runs/run-folder.ts';
import { loadRunConfig } from '../../src/stages/campaign/config-load.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import type { LabelledFile } from '../../src/studies/calibration/labelled-examples.ts';
import { scoreWithConfig } from '../../src/studies/calibration/score-examples.ts';
import { transferRun } from '../../src/studies/transfer/run-transfer.ts';
import { nameTargets, parseTargetsFile } from '../../src/studies/transfer/transfer-config.ts';
import { tuneRun } from '../../src/studies/tune/tune-run.ts';
import { readTables } from '../stages/run-content.ts';
import { createTinyTarget, type TinyTarget } from '../studies/robustness/tiny-target.ts';
import { type LocalWorker, startLocalWorker } from './local-workers.ts';

let redis: RedisServer;
let tiny: TinyTarget;
let here: RunFolder;
/** A copy of that run whose config has a queue. */
let there: RunFolder;
let worker: LocalWorker;

beforeAll(async () => {
  redis = await startRedis();
  tiny = await createTinyTarget();
  await cp(path.join(tiny.folder, 'attacker'), path.join(tiny.folder, 'other'), { recursive: true });
  const config = tiny.targetConfig(['attackers=[sft]', 'evaluation.attacks=40']);
  here = await startRun({ config, runsFolder: tiny.runsFolder, name: 'here', ifTaken: 'refuse' }, tiny.io());
  const copy = path.join(tiny.runsFolder, 'there');
  await cp(here.path, copy, { recursive: true });
  await appendFile(path.join(copy, 'config.yaml'), `queue: { url: '${redis.url}', waitSeconds: 5 }\n`);
  there = await openRunFolder('there', tiny.runsFolder);
  worker = await startLocalWorker(redis.url, { take: ['asks'], cacheDir: path.join(tiny.folder, 'cache') });
}, 120_000);
afterAll(async () => {
  await worker?.stop();
  await redis?.remove();
  await tiny?.remove();
  expect(liveSessionLabels()).toEqual([]);
});

/** The work that the worker does meanwhile. */
async function byWorker(work: () => Promise<unknown>) {
  await worker.stop();
  worker = await startLocalWorker(redis.url, { take: ['asks'], cacheDir: path.join(tiny.folder, 'cache') });
  await work();
  const counts = await worker.stop();
  worker = await startLocalWorker(redis.url, { take: ['asks'], cacheDir: path.join(tiny.folder, 'cache') });
  return counts;
}

/** Rows, with objects in columns of text as objects: the order of their keys says nothing. */
function rowsOf({ databasePath }: RunFolder): unknown {
  const opened = (value: unknown): unknown =>
    typeof value === 'string' && value.startsWith('{"') ? (JSON.parse(value) as unknown) : value;
  return JSON.parse(JSON.stringify(readTables(databasePath)), (_, value: unknown) => opened(value));
}

const TARGETS = `
responses: 2
targets:
  - { name: own, decode: { temperature: 1, maxNewTokens: 2 } }
  - { kind: scripted, name: other, rules: [{ contains: e, respond: [a] }], otherwise: [zz] }
  - { name: path, kind: local, model: ./other, decode: { temperature: 1, maxNewTokens: 2 } }
`;

describe('studies over a stored run whose config has a queue', () => {
  it('transfer: workers ask its targets and judges, and the rows are the same', async () => {
    const targets = nameTargets(parseTargetsFile(TARGETS, { fileName: 'targets.yaml', folder: tiny.folder }));
    const plan = { targets, again: false };
    const { answers, verdicts } = await byWorker(() => transferRun(there, plan, tiny.io()));
    await transferRun(here, plan, tiny.io());
    expect(rowsOf(there)).toEqual(rowsOf(here));
    // The target whose model is a path of this machine was asked here.
    expect(answers).toBe(2 * 2 * 40);
    expect(verdicts).toBeGreaterThan(0);
  });

  it('transfer: an answer that does not fit is found before any work, as without a queue', async () => {
    const targets = nameTargets([{ name: 'long' }]);
    const why = /^transfer target long: .*maxNewTokens: got 64, which leaves a prompt 0 of the 64 tokens/;
    await expect(transferRun(here, { targets, again: false }, tiny.io())).rejects.toThrow(why);
    const onWorker = new RegExp(why.source.replace('.*maxNew', 'worker .*maxNew'));
    await expect(transferRun(there, { targets, again: false }, tiny.io())).rejects.toThrow(onWorker);
  });

  it('tune: workers score what the target writes', async () => {
    const { answers, verdicts } = await byWorker(() => tuneRun({ folder: there, name: 'safe' }, tiny.io()));
    await tuneRun({ folder: here, name: 'safe' }, tiny.io());
    const recordOf = async ({ path: run }: RunFolder) => {
      const text = await readFile(path.join(run, 'tuned', 'safe', 'tune.json'), 'utf8');
      return { ...(JSON.parse(text, (key, value) => (key === 'seconds' ? null : value)) as object), run: null };
    };
    expect(await recordOf(there)).toEqual(await recordOf(here));
    expect(answers).toBe(0);
    expect(verdicts).toBeGreaterThan(0);
  });

  it('judge calibrate: workers score the examples', async () => {
    const texts = ['a q', 'zz', 'why', 'mm'];
    const examples = texts.map((response, row) => ({ attack: 'x', response, isUnsafe: row % 2 === 0, row }));
    const file = {
      path: 'labels.csv',
      sha256: '',
      hasScores: false,
      unlabelled: 0,
      examples,
    } as unknown as LabelledFile;
    const scoresOf = async (run: RunFolder) =>
      scoreWithConfig(await loadRunConfig(run), file, { judge: 'fewer', io: tiny.io() });
    let scored: unknown;
    const { verdicts } = await byWorker(async () => {
      scored = await scoresOf(there);
    });
    expect(scored).toEqual(await scoresOf(here));
    expect(verdicts).toBe(texts.length);
  });

  it('judge calibrate: no worker opens the target of the config', async () => {
    const examples = [{ attack: 'x', response: 'a q', isUnsafe: true, row: 1 }];
    const file = { path: 'labels.csv', examples } as unknown as LabelledFile;
    const config = await loadRunConfig(there, ['target.model=/nowhere/tuned/model']);
    expect((await scoreWithConfig(config, file, { judge: 'fewer', io: tiny.io() })).unscored).toBe(0);
  });
});
