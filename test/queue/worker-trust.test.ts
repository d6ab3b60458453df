import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Queue } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { queueAddress } from '../../src/queue/connection.ts';
import { openJobQueue } from '../../src/queue/job-queue.ts';
import { type AskedDescription, jobIdOf, PROTOCOL } from '../../src/queue/protocol.ts';
import { queueSection } from '../../src/queue/queue-section.ts';
import { createSigner } from '../../src/queue/signing.ts';
import { DEFAULT_JUDGE, type LocalWorker, openWorkersOf, queueConfig, startLocalWorker } from './local-workers.ts';

const KEY = 'the key of this test, long enough';
const SCRIPTED = { kind: 'scripted', otherwise: ['fine'] };

let redis: RedisServer;
let folder: string;
let worker: LocalWorker | undefined;

beforeAll(async () => {
  redis = await startRedis();
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-trust-'));
});
afterEach(async () => {
  delete process.env.FLOODGATE_QUEUE_KEY;
  await worker?.stop();
  worker = undefined;
});
afterAll(async () => {
  await redis?.remove();
  await rm(folder, { recursive: true, force: true });
});

const addressOf = () => queueAddress(queueSection.unwrap().parse({ url: redis.url }));

/** Opens the parts of a config through a worker, and closes them. */
async function openOnce(target: object, judge: object = DEFAULT_JUDGE): Promise<string> {
  const workers = await openWorkersOf(queueConfig(redis.url, target, judge));
  try {
    return workers.planned.facts.model;
  } finally {
    await workers.close();
  }
}

async function moduleFile(name: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(
    file,
    `import { writeFileSync } from 'node:fs';
     writeFileSync(${JSON.stringify(`${file}.ran`)}, '');
     export default async () => 'fine';`,
  );
  return file;
}

describe('a worker runs no code that it was not started for', () => {
  it('refuses a target of a file, and says which option allows it', async () => {
    const file = await moduleFile('target.mjs');
    worker = await startLocalWorker(redis.url);
    await expect(openOnce({ kind: 'module', file })).rejects.toMatchObject({
      code: 'config',
      message: expect.stringMatching(/^worker .*: target\.file: a worker runs no code for the queue, got /),
      hint: `on the worker: where that is meant, start the worker with --allow-local-code ${JSON.stringify(file)}`,
    });
    const { existsSync } = await import('node:fs');
    expect(existsSync(`${file}.ran`)).toBe(false);
    expect(worker.lines.some((line) => /runs no code/.test(line))).toBe(true);
  });

  it('runs the file that it was started for, and no other', async () => {
    const file = await moduleFile('allowed.mjs');
    worker = await startLocalWorker(redis.url, { permissions: { code: [file], files: [] } });
    expect(await openOnce({ kind: 'module', file })).toBe(`module ${file}`);
    await expect(openOnce({ kind: 'module', file: `${file}2` })).rejects.toThrow(/runs no code/);
  });

  it('refuses a command, unless its whole line is named', async () => {
    const command = ['node', '-e', 'process.exit()'];
    worker = await startLocalWorker(redis.url, { permissions: { code: ['node'], files: [] } });
    await expect(openOnce({ kind: 'command', command })).rejects.toThrow(/target\.command: a worker runs no code/);
  });

  it.each([
    [{ kind: 'module', file: '/x.mjs' }],
    [{ kind: 'masked', judge: { kind: 'module', file: '/x.mjs' } }],
    [{ kind: 'ensemble', members: [{ judge: DEFAULT_JUDGE }, { judge: { kind: 'module', file: '/x.mjs' } }] }],
  ])('refuses a judge of a file, at any depth: %j', async (judge) => {
    worker = await startLocalWorker(redis.url);
    await expect(openOnce(SCRIPTED, judge)).rejects.toThrow(/judges\.0.*file: a worker runs no code/);
  });
});

describe('a worker reads no secret that it was not started with', () => {
  const far = { kind: 'openai', baseUrl: 'http://127.0.0.1:1/v1', model: 'm', checkAnswers: false, retries: 0 };

  it('refuses a variable, and reads the ones that it may', async () => {
    process.env.FLOODGATE_TEST_SECRET = 'not for everybody';
    worker = await startLocalWorker(redis.url, { variables: ['FLOODGATE_OTHER'] });
    await expect(openOnce({ ...far, apiKeyEnv: 'FLOODGATE_TEST_SECRET' })).rejects.toMatchObject({
      message: expect.stringMatching(/FLOODGATE_TEST_SECRET may not be read here/),
      hint: expect.stringContaining('--allow-env FLOODGATE_TEST_SECRET'),
    });
    await worker.stop();
    worker = await startLocalWorker(redis.url, { variables: ['FLOODGATE_TEST_SECRET'] });
    await expect(openOnce({ ...far, apiKeyEnv: 'FLOODGATE_TEST_SECRET' })).rejects.toThrow(/ECONNREFUSED|connect/i);
    delete process.env.FLOODGATE_TEST_SECRET;
  });

  it('refuses the file of a key', async () => {
    worker = await startLocalWorker(redis.url);
    await expect(openOnce({ ...far, apiKeyFile: '/etc/hostname' })).rejects.toThrow(
      /target\.apiKeyFile: a worker reads no files of keys/,
    );
  });
});

describe('signed jobs', () => {
  it('of one key are done', async () => {
    process.env.FLOODGATE_QUEUE_KEY = KEY;
    worker = await startLocalWorker(redis.url);
    expect(await openOnce(SCRIPTED)).toBe('scripted');
    expect((await worker.stop()).refused).toBe(0);
  });

  it.each([
    ['another key', `${KEY}!`, /signed with another key/],
    ['no key', undefined, /it is signed, and this side has no FLOODGATE_QUEUE_KEY/],
  ])('are refused by a worker with %s', async (_what, key, reason) => {
    if (key !== undefined) process.env.FLOODGATE_QUEUE_KEY = key;
    worker = await startLocalWorker(redis.url);
    process.env.FLOODGATE_QUEUE_KEY = KEY;
    await expect(openOnce(SCRIPTED)).rejects.toThrow(reason);
    expect((await worker.stop()).refused).toBeGreaterThan(0);
  });

  it('are refused under another id, and what is no job too', async () => {
    process.env.FLOODGATE_QUEUE_KEY = KEY;
    worker = await startLocalWorker(redis.url);
    const queue = new Queue('asks', { connection: addressOf().connection, prefix: 'floodgate' });
    const signed = createSigner(KEY).sign('job', { kind: 'open', version: PROTOCOL });
    for (const [i, data] of [signed, { ...signed, mac: null }, 'text', { payload: 1 }].entries())
      await queue.add('open', data, { jobId: `forged-${i}` });
    await queue.add('open', signed, { jobId: jobIdOf(signed) }); // signed, and of another form
    while (worker.lines.filter((line) => /refuses a job/.test(line)).length < 5)
      await new Promise((resolve) => setTimeout(resolve, 20));
    await queue.close();
    expect(worker.lines.map((line) => line.replace(/.*: /, '')).sort()).toEqual(
      expect.arrayContaining(['its id is that of another job', 'it is not signed', 'it is of another form']),
    );
    expect(await openOnce(SCRIPTED)).toBe('scripted'); // the worker continues
  });

  it('whose results are signed with another key end the run', async () => {
    const description: AskedDescription = {
      seed: 0,
      threads: null,
      target: { kind: 'scripted' },
      judges: [DEFAULT_JUDGE],
      world: null,
      texts: [],
    };
    const job = { kind: 'open', version: PROTOCOL, run: 'forged', description } as const;
    const queue = new Queue('asks', { connection: addressOf().connection, prefix: 'floodgate' });
    const signer = createSigner(KEY);
    const { Worker } = await import('bullmq');
    const forger = new Worker(
      'asks',
      async ({ id }) =>
        createSigner(`${KEY}?`).sign('result', { version: PROTOCOL, job: id, worker: 'w', outcome: {} }),
      { connection: addressOf().connection, prefix: 'floodgate' },
    );
    const jobs = await openJobQueue(addressOf(), signer);
    await expect(jobs.submit(job, new AbortController().signal)).rejects.toThrow(
      /the result of a job is refused: it is signed with another key/,
    );
    await jobs.close();
    await forger.close();
    await queue.close();
  });
});
