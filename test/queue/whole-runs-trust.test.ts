import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { acquireLock } from '../../src/base/lock.ts';
import { silentProgress } from '../../src/base/progress.ts';
import { queueAddress } from '../../src/queue/connection.ts';
import { openJobQueue } from '../../src/queue/job-queue.ts';
import { type Job, PROTOCOL, RUNS } from '../../src/queue/protocol.ts';
import { queueSection } from '../../src/queue/queue-section.ts';
import { createSigner } from '../../src/queue/signing.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { finishRuns } from '../../src/stages/campaign/whole-runs.ts';
import { doRun } from '../../src/workers/run-task.ts';
import type { WorkerOptions } from '../../src/workers/worker.ts';
import { type LocalWorker, startLocalWorker } from './local-workers.ts';

let redis: RedisServer;
let folder: string;
let worker: LocalWorker | undefined;

beforeAll(async () => {
  redis = await startRedis();
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-whole-runs-'));
  await writeFile(path.join(folder, 'seeds.txt'), 'one\ntwo\n');
});
afterEach(async () => {
  await worker?.stop();
  worker = undefined;
});
afterAll(async () => {
  await redis?.remove();
  await rm(folder, { recursive: true, force: true });
});

const LEXICON = { kind: 'lexicon', rules: [{ terms: ['alarm'], weight: 0.95 }] };
const SMALLEST = {
  authorisation: 'a test',
  attacker: { model: 'none' },
  seeds: { path: './seeds.txt' },
  target: { kind: 'scripted', otherwise: ['fine'] },
  judges: { training: LEXICON, evaluation: [{ ...LEXICON, name: 'other' }] },
};

const address = () => queueAddress(queueSection.unwrap().parse({ url: redis.url }));

/** Gives a worker a whole run whose config is the smallest with `changes`, and whose seeds are of two lines. */
async function run(
  changes: object,
  { seeds = 'seeds.txt', ...options }: Partial<WorkerOptions> & { readonly seeds?: string | undefined } = {},
): Promise<unknown> {
  worker ??= await startLocalWorker(redis.url, { cacheDir: path.join(folder, 'cache'), ...options });
  const jobs = await openJobQueue(address(), createSigner(undefined), undefined, RUNS);
  try {
    const bytes = Buffer.from('one\ntwo\n');
    const carried = { name: seeds, bytes: bytes.length, pieces: [await jobs.blobs('trust').put(bytes)] };
    const job: Job = {
      kind: 'run',
      version: PROTOCOL,
      run: 'trust',
      config: { ...SMALLEST, ...changes },
      seeds: seeds === '' ? [] : [carried],
      model: [],
    };
    return await jobs.submit(job, new AbortController().signal);
  } finally {
    await jobs.close();
  }
}

describe('a worker does no whole run', () => {
  it.each([
    ['a target of a file', { target: { kind: 'module', file: '/x.mjs' } }, /target\.file: a worker runs no code/],
    ['a command', { target: { kind: 'command', command: ['true'] } }, /target\.command: a worker runs no code/],
    [
      'a judge of a file',
      { judges: { ...SMALLEST.judges, training: { kind: 'masked', judge: { kind: 'module', file: '/x.mjs' } } } },
      /judges\.0\.judge\.file: a worker runs no code/,
    ],
    ['the attacker of another run', { attacker: { model: 'none', from: 'run:x' } }, /attacker\.from: got run:x/],
    ['an earlier run', { attackers: ['replay'], replay: { from: '/runs/x' } }, /replay\.from: got \/runs\/x/],
    ['answers of other runs', { sharedAnswers: true }, /sharedAnswers: got true/],
    ['another queue', { queue: { url: 'redis://127.0.0.1:1' } }, /queue: got one/],
    ['an unknown key', { nonsense: 1 }, /nonsense/],
  ])('with %s', async (_, changes, why) => {
    await expect(run(changes)).rejects.toMatchObject({ code: 'config', message: expect.stringMatching(why) });
  });

  it('whose seeds are a file of its own', async () => {
    await writeFile(path.join(folder, 'own.txt'), 'a secret of the worker');
    const seeds = { path: path.join(folder, 'own.txt') };
    await expect(run({ seeds }, { seeds: '' })).rejects.toThrow(/seeds\.path: a worker reads no file of its own/);
  });

  it('with a variable that it was not started with: the process of the run hears of it too', async () => {
    process.env.FLOODGATE_TEST_SECRET = 'not for everybody';
    const target = { kind: 'openai', baseUrl: 'http://127.0.0.1:1/v1', model: 'm', apiKeyEnv: 'FLOODGATE_TEST_SECRET' };
    const configPath = path.join(folder, 'secret.yaml');
    await writeFile(configPath, JSON.stringify({ ...SMALLEST, target }));
    const task = { configPath, runsFolder: path.join(folder, 'runs'), name: 'run', variables: [] };
    expect(await doRun(task, new AbortController().signal, () => undefined)).toMatchObject({
      kind: 'error',
      message: expect.stringMatching(/FLOODGATE_TEST_SECRET may not be read here/),
    });
    delete process.env.FLOODGATE_TEST_SECRET;
  });

  it('that comes in the queue of asks, nor an ask in that of runs', async () => {
    worker = await startLocalWorker(redis.url);
    const jobs = await openJobQueue(address(), createSigner(undefined));
    const job: Job = { kind: 'run', version: PROTOCOL, run: 'x', config: {}, seeds: [], model: [] };
    await expect(jobs.submit(job, new AbortController().signal)).rejects.toThrow(/it is a job of another queue/);
    await jobs.close();
  });

  it('where it takes asks alone', async () => {
    worker = await startLocalWorker(redis.url, { take: ['asks'] });
    const jobs = await openJobQueue(address(), createSigner(undefined), undefined, RUNS);
    expect(await jobs.workers()).toBe(0);
    await jobs.close();
  });
});

describe('the runs that a worker has begun', () => {
  it('compute with its own threads and memory', async () => {
    const cacheDir = path.join(folder, 'own cache');
    await expect(run({ threads: 1 }, { cacheDir, threads: 3, memory: 'small' })).rejects.toThrow(/whole run/);
    const [id = ''] = await readdir(path.join(cacheDir, 'whole-runs'));
    const config = await readFile(path.join(cacheDir, 'whole-runs', id, 'config.yaml'), 'utf8');
    expect(config).toMatch(/^threads: 3$/m);
    expect(config).toMatch(/^memory: small$/m);
  });

  it('are removed when nobody continued them for a week, unless a process has them', async () => {
    const cacheDir = path.join(folder, 'old cache');
    const weekAgo = new Date(Date.now() - 8 * 24 * 3600 * 1000);
    for (const name of ['old', 'held', 'new']) {
      const place = path.join(cacheDir, 'whole-runs', name);
      await mkdir(path.join(place, 'runs', 'run'), { recursive: true });
      if (name !== 'new') await utimes(place, weekAgo, weekAgo);
    }
    const lock = await acquireLock(path.join(cacheDir, 'whole-runs', 'held', 'runs', 'run', 'lock'));
    await expect(run({ nonsense: 2 }, { cacheDir })).rejects.toThrow(/nonsense/);
    expect((await readdir(path.join(cacheDir, 'whole-runs'))).sort()).toEqual(['held', 'new']);
    await lock.release();
  });
});

describe('a study whose runs workers do', () => {
  const wanted = (more: object) => ({
    config: parseConfig(
      JSON.stringify({ ...SMALLEST, queue: { url: redis.url, runs: true, waitSeconds: 1 }, ...more }),
      {
        fileName: 'c.yaml',
        folder,
      },
    ),
    runsFolder: path.join(folder, 'runs'),
    name: 'target' in more ? 'code' : 'plain',
    note: 'r',
  });
  const finish = (more: object, leavesOut?: (error: unknown) => boolean) => {
    const io = { progress: silentProgress, signal: new AbortController().signal };
    const plan = { label: 'runs', unit: 'runs', runs: [wanted(more)], idFolder: path.join(folder, 'id') };
    return finishRuns(leavesOut === undefined ? plan : { ...plan, leavesOut }, io);
  };

  it('stops before any work without a worker', async () => {
    await expect(finish({})).rejects.toMatchObject({
      code: 'run',
      message: expect.stringMatching(/no worker took a job within 1 s/),
      hint: expect.stringMatching(/floodgate worker --queue redis:/),
    });
  });

  it('says which keys keep its runs here', async () => {
    await expect(finish({ attacker: { model: 'none', from: 'run:x' } })).rejects.toMatchObject({
      code: 'config',
      message: 'attacker.from: got run:x, which is on one machine, and the run is done by a worker',
      hint: 'set queue.runs: false to do these runs here',
    });
  });

  it('stops before any work where its seeds cannot be read', async () => {
    await expect(finish({ seeds: { path: 'missing.txt' } })).rejects.toThrow(/^seeds .*missing\.txt: cannot be read/);
  });

  it.each([
    ['here', false, /^find model none: no such name/],
    ['on a worker', true, /^worker .*: target\.file: a worker runs no code/],
  ])('stops with the message of a run that fails %s, or leaves it out', async (_, runs, why) => {
    worker = await startLocalWorker(redis.url, { cacheDir: path.join(folder, 'cache') });
    const more = runs ? { target: { kind: 'module', file: '/x.mjs' } } : { queue: { url: redis.url, runs } };
    await expect(finish(more)).rejects.toThrow(why);
    expect(await finish(more, (error) => why.test((error as Error).message))).toEqual([]);
    await expect(finish(more, () => false)).rejects.toThrow(why);
  });

  it('stops without Redis', async () => {
    const queue = { url: 'redis://127.0.0.1:1', runs: true };
    await expect(finish({ queue })).rejects.toThrow(/cannot reach redis:\/\/127\.0\.0\.1:1/);
  });
});
