import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Queue } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { startWorker, type WorkerProcess } from '../../lab/queue/worker-process.ts';
import { loadBullmq, queueAddress } from '../../src/queue/connection.ts';
import { openJobQueue } from '../../src/queue/job-queue.ts';
import type { JobQueue } from '../../src/queue/pending-job.ts';
import { type AskJob, jobIdOf, PROTOCOL } from '../../src/queue/protocol.ts';
import { queueSection } from '../../src/queue/queue-section.ts';
import { createSigner } from '../../src/queue/signing.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { describedParts, openWorkersOf, queueConfig } from './local-workers.ts';

/** A target that notes each call; `block` blocks the event loop, `slow` waits until a file is there. */
const TARGET = `
import { appendFileSync, existsSync } from 'node:fs';
const { FOLDER } = process.env;
export default async ({ attack, signal }) => {
  appendFileSync(FOLDER + '/calls', attack + '\\n');
  if (attack.startsWith('block')) for (const end = Date.now() + 3000; Date.now() < end; );
  if (attack.startsWith('slow'))
    while (!existsSync(FOLDER + '/go') && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, 20));
  return 'answer to ' + attack;
};
`;

const never = new AbortController().signal;
let redis: RedisServer;
let folder: string;
let jobs: JobQueue;
let processes: WorkerProcess[] = [];

beforeAll(async () => {
  redis = await startRedis();
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-lifetimes-'));
  writeFileSync(path.join(folder, 'target.mjs'), TARGET);
  jobs = await openJobQueue(addressOf(redis.url), createSigner(undefined));
});
afterEach(async () => {
  for (const each of processes) each.kill('SIGKILL');
  await Promise.all(processes.map(({ ended }) => ended));
  processes = [];
  for (const name of ['calls', 'go']) await rm(path.join(folder, name), { force: true });
});
afterAll(async () => {
  await jobs?.close();
  await redis?.remove();
  await rm(folder, { recursive: true, force: true });
});

const addressOf = (url: string) => queueAddress(queueSection.unwrap().parse({ url }));
const signer = createSigner(undefined);

function startOne(...args: string[]): WorkerProcess {
  const file = path.join(folder, 'target.mjs');
  const place = { mainPath: path.join(builtProgram(), 'cli/main.js'), folder };
  const all = ['--queue', redis.url, '--allow-local-code', file, ...args];
  const worker = startWorker(place, all, { FOLDER: folder });
  processes.push(worker);
  return worker;
}

function configOf() {
  return queueConfig(redis.url, { kind: 'module', file: path.join(folder, 'target.mjs'), timeoutSeconds: 60 });
}

/** A job of the target; its module's hash is that of the file. */
async function askOf(attack: string): Promise<AskJob> {
  const { sha256Of } = await import('../../src/base/canonical-json.ts');
  return {
    kind: 'ask',
    version: PROTOCOL,
    run: 'lifetimes',
    description: describedParts(configOf()),
    part: 'training',
    weights: sha256Of(TARGET),
    attack,
    streamName: ['lifetimes'],
    samples: [0],
    decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 },
    judges: [],
  };
}

async function answerTo(attack: string): Promise<string> {
  const { outcome, release } = await jobs.submit(await askOf(attack), never);
  release();
  if (outcome.kind !== 'answers' || outcome.answers[0]?.kind !== 'text') throw new Error(JSON.stringify(outcome));
  return outcome.answers[0].text;
}

const callsFile = (): string => path.join(folder, 'calls');
const callsOf = (attack: string): number =>
  existsSync(callsFile())
    ? readFileSync(callsFile(), 'utf8')
        .split('\n')
        .filter((line) => line === attack).length
    : 0;

async function called(attack: string): Promise<void> {
  while (callsOf(attack) === 0) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe('a job', () => {
  it('that blocks its worker longer than the lock lasts is answered once, and nobody is lost by it', async () => {
    const workers = [startOne('--lock-seconds', '1'), startOne('--lock-seconds', '1')];
    await Promise.all(workers.map((worker) => worker.printed(/takes jobs/)));
    expect(await answerTo('block')).toBe('answer to block');
    expect(callsOf('block')).toBe(2); // the other worker took it when the lock had run out
    expect(await answerTo('next')).toBe('answer to next');
    for (const { child } of workers) expect(child.exitCode).toBeNull();
  });

  it('in hand is handed back at the first Ctrl-C, and another worker does it', async () => {
    const first = startOne();
    const answer = answerTo('slow 1');
    await called('slow 1');
    const startedMs = performance.now();
    first.kill('SIGINT');
    expect(await first.ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - startedMs).toBeLessThan(10_000); // the lock lasts a minute
    expect(first.output()).toMatch(/1 jobs handed back/);
    writeFileSync(path.join(folder, 'go'), '');
    startOne();
    expect(await answer).toBe('answer to slow 1');
  });

  it('in hand ends with its worker at the second Ctrl-C', async () => {
    const worker = startOne();
    const answer = answerTo('slow 2');
    await called('slow 2');
    worker.kill('SIGINT');
    worker.kill('SIGINT');
    const { code } = await worker.ended;
    expect([0, 130]).toContain(code); // the first may have been enough
    writeFileSync(path.join(folder, 'go'), '');
    await redis.stop('SIGKILL'); // its lock would last a minute: a restart of Redis changes nothing
    await redis.start();
    startOne('--lock-seconds', '1');
    expect(await answer).toBe('answer to slow 2');
  }, 120_000);

  it('that was done for a learner that is gone is found by the next one, and not asked again', async () => {
    const controller = new AbortController();
    const gone = jobs.submit(await askOf('slow 3'), controller.signal);
    startOne();
    await called('slow 3');
    controller.abort();
    await expect(gone).rejects.toThrow();
    writeFileSync(path.join(folder, 'go'), '');
    const queue = new Queue('asks', { connection: addressOf(redis.url).connection, prefix: 'floodgate' });
    const id = jobIdOf(signer.sign('job', await askOf('slow 3')));
    while ((await queue.getJob(id))?.finishedOn === undefined) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await answerTo('slow 3')).toBe('answer to slow 3');
    expect(callsOf('slow 3')).toBe(1);
    while ((await queue.getJob(id)) !== undefined) await new Promise((resolve) => setTimeout(resolve, 20)); // released
    await queue.close();
  });

  it('ends its worker at the first Ctrl-C, although Redis is gone', async () => {
    const worker = startOne();
    await worker.printed(/takes jobs/);
    await redis.stop('SIGKILL');
    await worker.printed(/no connection/);
    worker.kill('SIGINT');
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    await redis.start();
  });

  it('that Redis forgot is added again', async () => {
    const answer = answerTo('forgotten');
    const queue = new Queue('asks', { connection: addressOf(redis.url).connection, prefix: 'floodgate' });
    const id = jobIdOf(signer.sign('job', await askOf('forgotten')));
    while ((await queue.getJob(id)) === undefined) await new Promise((resolve) => setTimeout(resolve, 10));
    await queue.obliterate();
    startOne();
    expect(await answer).toBe('answer to forgotten');
    await queue.close();
  });
});

describe('a learner', () => {
  it('without a worker says so, and stops after queue.waitSeconds', async () => {
    const said: string[] = [];
    const progress = {
      start: () => ({ update: () => undefined, finish: () => undefined }),
      say: (line: string) => void said.push(line),
    };
    const config = configOf();
    const own = { ...config, queue: { ...config.queue, url: redis.url, waitSeconds: 1 } } as typeof config;
    await expect(openWorkersOf(own, { progress })).rejects.toMatchObject({
      code: 'run',
      message: `queue: no worker took a job within 1 s at ${redis.url}`,
      hint: `start one on any machine: floodgate worker --queue ${redis.url}`,
    });
    expect(said).toHaveLength(1);
  });

  it('without the package says how it is installed', async () => {
    const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
    await expect(loadBullmq(() => Promise.reject(missing))).rejects.toMatchObject({
      code: 'usage',
      message: 'queue: it needs the package bullmq; it is not installed',
      hint: 'npm install bullmq@5',
    });
  });
});
