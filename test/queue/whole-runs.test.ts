import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { startWorker, type WorkerProcess } from '../../lab/queue/worker-process.ts';
import { lockHolder } from '../../src/base/lock.ts';
import { type CampaignPlace, type CampaignProcess, startProcess } from '../stages/campaign-process.ts';
import { contentDifferences, readRunContent } from '../stages/run-content.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { openRawRedis } from './raw-redis.ts';

let tiny: TinyCampaign;
let place: CampaignPlace;
let redis: RedisServer;
let workers: WorkerProcess[] = [];

const SHORT = [
  'attackers=[sft,gflownet]',
  'gflownet.updates=20',
  'watch.everyUpdates=0',
  'evaluation={attacks: 32, responses: 2, controls: 8, causes: {clusters: 0}}',
];

beforeAll(async () => {
  tiny = await createTinyCampaign();
  place = { ...placeOfTiny(tiny, builtProgram()), overrides: SHORT };
  redis = await startRedis();
  const here = await startSeeds('here', '0..1', []).outcome;
  expect(here.code, here.stderr).toBe(0);
});
afterEach(async () => {
  for (const worker of workers) worker.kill('SIGKILL');
  await Promise.all(workers.map(({ ended }) => ended));
  workers = [];
});
afterAll(async () => {
  await redis?.remove();
  await tiny?.remove();
});

/** A worker with a cache of its own, as on another machine. */
async function startRunWorker(cache: string, args: readonly string[] = []): Promise<WorkerProcess> {
  const own = { ...place, cacheFolder: path.join(tiny.folder, cache) };
  const worker = startWorker(own, ['--queue', redis.url, '--lock-seconds', '2', ...args]);
  workers.push(worker);
  await worker.printed(/takes jobs/);
  return worker;
}

const onWorkers = (): string[] => ['--set', `queue.url=${redis.url}`, '--set', 'queue.runs=true'];

function startSeeds(runsFolder: string, seeds: string, args: readonly string[]): CampaignProcess {
  const sets = place.overrides.flatMap((override) => ['--set', override]);
  const own = { ...place, runsFolder: path.join(tiny.folder, runsFolder) };
  return startProcess(own, ['run', place.configFile, '--name', 'tiny', '--seeds', seeds, ...sets, ...args]);
}

const contentOf = (runsFolder: string, seed: number) =>
  readRunContent(path.join(tiny.folder, runsFolder, `tiny-seed-${seed}`));

describe('the runs of several seeds', { timeout: 300_000 }, () => {
  it('on workers are those of one process, bit for bit', async () => {
    const worker = await startRunWorker('cache-1');
    const { code, stderr } = await startSeeds('there', '0..1', onWorkers()).outcome;
    expect(code, stderr + worker.output()).toBe(0);
    worker.kill('SIGINT');
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(worker.output()).toMatch(/2 whole runs/);
    for (const seed of [0, 1])
      expect(contentDifferences(contentOf('here', seed), contentOf('there', seed)), `seed ${seed}`).toEqual([]);
    expect(contentDifferences(contentOf('there', 0), contentOf('there', 1))).not.toEqual([]);
  });
});

/** Keys of jobs and bytes that Redis still holds. */
async function keysLeft(): Promise<string[]> {
  const { client, close } = await openRawRedis(redis.port);
  const keys = await client.keys('floodgate:*');
  await close();
  return keys.filter((key) => /blobs|:job-/.test(key));
}

/** As a Redis does whose memory is full, or that waited for too long. */
async function dropBytes(): Promise<void> {
  const { client, close } = await openRawRedis(redis.port);
  const keys = await client.keys('floodgate:blobs:*');
  expect(keys.length).toBeGreaterThan(0);
  for (const key of keys) await client.del(key);
  await close();
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Files of runs that a worker has under way. */
function underWay(cache: string, suffix: RegExp): string[] {
  const folder = path.join(tiny.folder, cache, 'whole-runs');
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => suffix.test(name));
  } catch (error) {
    // The worker has not made it yet, or renames a folder while it is read.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Ends when workers have finished every job that Redis holds, and there is one. */
async function jobsHaveEnded(): Promise<void> {
  const { client, close } = await openRawRedis(redis.port);
  for (;;) {
    const jobs = (await client.keys('floodgate:*')).filter((key) => /:job-[^:]+$/.test(key));
    const ends = await Promise.all(jobs.map((key) => client.hget(key, 'finishedOn')));
    if (jobs.length > 0 && ends.every((end) => end !== null)) break;
    await sleep(20);
  }
  await close();
}

/** Ends when the attacker of a run under way has a checkpoint. */
async function isLearning(cache: string): Promise<void> {
  while (underWay(cache, /checkpoints\/gflownet-\d+/).length === 0) await sleep(10);
}

/** The process that has the run of a worker, once it is another than `before`. */
async function runnerOf(cache: string, before?: number): Promise<number> {
  for (;;) {
    const [run] = underWay(cache, /runs\/run$/);
    const lock = path.join(tiny.folder, cache, 'whole-runs', run ?? '', 'lock');
    const pid = run === undefined ? undefined : await lockHolder(lock);
    if (pid !== undefined && pid !== before) return pid;
    await sleep(10);
  }
}

/** Ends with the process; fails where it stays for long. */
async function hasEnded(pid: number): Promise<void> {
  for (const until = performance.now() + 3000; performance.now() < until; ) {
    try {
      process.kill(pid, 0); // asks, and ends nothing
    } catch {
      return;
    }
    await sleep(20);
  }
  throw new Error(`process ${pid} of the killed worker's run still works`);
}

describe('when something fails', { timeout: 300_000 }, () => {
  const LONG = ['--set', 'gflownet.updates=80'];

  it('the runs are the same, and none is counted twice', async () => {
    const here = await startSeeds('whole', '0..2', LONG).outcome;
    expect(here.code, here.stderr).toBe(0);
    const go = (): CampaignProcess => startSeeds('faulty', '0..2', [...LONG, ...onWorkers()]);
    let study = go();
    const killed = await startRunWorker('cache-a');
    await isLearning('cache-a');
    const runner = await runnerOf('cache-a');
    killed.kill('SIGKILL');
    await killed.ended;
    await hasEnded(runner);
    const first = await startRunWorker('cache-a'); // takes the same run where it was
    const held = await runnerOf('cache-a', runner);
    process.kill(held, 'SIGSTOP'); // so that the worker has this run still when it is told to stop
    await redis.stop('SIGKILL');
    await sleep(300);
    await redis.start();
    await startRunWorker('cache-b');
    await isLearning('cache-b');
    process.kill(await runnerOf('cache-b'), 'SIGKILL'); // as a machine without memory does
    study.kill('SIGKILL');
    await study.outcome;
    study = go();
    await sleep(300);
    first.kill('SIGINT');
    process.kill(held, 'SIGCONT');
    expect(await first.ended).toEqual({ code: 0, signal: null });
    expect(first.output()).toMatch(/1 jobs handed back/);
    await startRunWorker('cache-a');
    const { code, stderr } = await study.outcome;
    expect(code, stderr).toBe(0);
    for (const seed of [0, 1, 2])
      expect(contentDifferences(contentOf('whole', seed), contentOf('faulty', seed)), `seed ${seed}`).toEqual([]);
    expect(await keysLeft()).toEqual([]);
  });

  it('Ctrl-C of the study ends it at once, and the same command finds what workers have done since', async () => {
    const worker = await startRunWorker('cache-c');
    const stopped = startSeeds('stopped', '0', onWorkers());
    await isLearning('cache-c');
    const before = performance.now();
    stopped.kill('SIGINT');
    const { code, stderr } = await stopped.outcome;
    expect(performance.now() - before).toBeLessThan(3000);
    expect(code).toBe(130);
    expect(stderr).toMatch(/finished runs are stored, and workers finish those that they have begun/);
    expect(stderr).toMatch(/continue: floodgate run .*--seeds 0/);
    await jobsHaveEnded();
    worker.kill('SIGINT');
    await worker.ended;
    await startRunWorker('cache-none', ['--take', 'runs']);
    const again = await startSeeds('stopped', '0', onWorkers()).outcome;
    expect(again.code, again.stderr).toBe(0);
    expect(existsSync(path.join(tiny.folder, 'cache-none', 'whole-runs'))).toBe(false);
    expect(contentDifferences(contentOf('here', 0), contentOf('stopped', 0))).toEqual([]);
  });

  it('a run whose files Redis has dropped since is done again', async () => {
    await startRunWorker('cache-e');
    const stopped = startSeeds('dropped', '0', onWorkers());
    await isLearning('cache-e');
    stopped.kill('SIGINT');
    await stopped.outcome;
    await jobsHaveEnded();
    await dropBytes();
    const { code, stderr } = await startSeeds('dropped', '0', onWorkers()).outcome;
    expect(code, stderr).toBe(0);
    expect(contentDifferences(contentOf('here', 0), contentOf('dropped', 0))).toEqual([]);
  });
});
