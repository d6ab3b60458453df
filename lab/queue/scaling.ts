import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { monotonicMs } from '../../src/base/clock.ts';
import { silentProgress } from '../../src/base/progress.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { queueAddress } from '../../src/queue/connection.ts';
import { openJobQueue } from '../../src/queue/job-queue.ts';
import { queueSection } from '../../src/queue/queue-section.ts';
import { createSigner } from '../../src/queue/signing.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { openRunWorkers } from '../../src/stages/campaign/run-workers.ts';
import type { Target } from '../../src/targets/target.ts';
import { slowServer } from '../slow-server.ts';
import { type RedisServer, startRedis } from './redis-server.ts';
import { startWorker, type WorkerProcess } from './worker-process.ts';

export interface ScalingOptions {
  readonly workers: number;
  readonly concurrency: number;
  readonly latency: number;
  readonly calls: number;
}

/** Clock ticks of a second, by which Linux counts processor time. */
const TICKS = 100;

/** Processor seconds of a process so far. */
async function cpuOf(pid: number | undefined): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Numbers of `INFO`, as Redis counts its own work. */
async function redisCounts(url: string): Promise<Readonly<Record<string, number>>> {
  const jobs = await openJobQueue(queueAddress(queueSection.unwrap().parse({ url })), createSigner(undefined));
  const info = await jobs.info();
  await jobs.close();
  return Object.fromEntries(
    [...info.matchAll(/^(\w+):(\d+(?:\.\d+)?)\r?$/gm)].map(([, key, value]) => [key, Number(value)]),
  );
}

const DECODE = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 16 };

function configOf(url: string, baseUrl: string, { concurrency, workers }: ScalingOptions) {
  const target = { kind: 'openai', baseUrl, model: 'slow', concurrency, responses: 1, checkAnswers: false };
  const judge = '{ kind: lexicon, rules: [{ terms: [alarm], weight: 0.95 }] }';
  const text = `
authorisation: a server of this experiment
attacker: { model: none }
seeds: { path: none.txt }
target: ${JSON.stringify(target)}
judges: { training: ${judge}, evaluation: [${judge}] }
queue: { url: '${url}', jobsAtOnce: ${2 * workers * concurrency} }`;
  return parseConfig(text, { fileName: 'scaling.yaml', folder: '/' });
}

interface Scaling {
  /** Calls a second, as a share of every worker's calls a latency. */
  readonly share: number;
  readonly callsPerSecond: number;
  /** Commands that Redis did, and bytes that went in and out, for one job. */
  readonly commandsPerJob: number;
  readonly bytesInPerJob: number;
  readonly bytesOutPerJob: number;
  /** Processor milliseconds of one job. */
  readonly learnerMs: number;
  readonly workerMs: number;
  readonly redisMs: number;
}

async function askAll(target: Target, calls: number, name: string): Promise<void> {
  const requests = Array.from({ length: calls }, (_, i) => ({ attack: `attack number ${i}`, streamName: [name, i] }));
  const answers = await target.ask(requests, { responses: 1, decode: DECODE });
  const failed = answers.flat().find(({ kind }) => kind !== 'text');
  if (failed !== undefined) throw new Error(JSON.stringify(failed));
}

async function measure(
  options: ScalingOptions,
  target: Target,
  { redis, processes }: { readonly redis: RedisServer; readonly processes: readonly WorkerProcess[] },
): Promise<Scaling> {
  const { workers, concurrency, latency, calls } = options;
  const cpu = async () => ({
    learner: process.cpuUsage().user + process.cpuUsage().system,
    workers: (await Promise.all(processes.map(({ child }) => cpuOf(child.pid)))).reduce((a, b) => a + b, 0),
  });
  await askAll(target, 2 * workers * concurrency, 'warm'); // every worker opens the target
  const before = { redis: await redisCounts(redis.url), ...(await cpu()) };
  const startedMs = monotonicMs();
  await askAll(target, calls, 'measured');
  const seconds = (monotonicMs() - startedMs) / 1000;
  const after = { redis: await redisCounts(redis.url), ...(await cpu()) };
  const counted = (key: string): number => ((after.redis[key] ?? 0) - (before.redis[key] ?? 0)) / calls;
  return {
    share: (calls * latency) / (1000 * seconds * workers * concurrency),
    callsPerSecond: calls / seconds,
    commandsPerJob: counted('total_commands_processed'),
    bytesInPerJob: counted('total_net_input_bytes'),
    bytesOutPerJob: counted('total_net_output_bytes'),
    learnerMs: (after.learner - before.learner) / 1000 / calls,
    workerMs: (1000 * (after.workers - before.workers)) / calls,
    redisMs: 1000 * (counted('used_cpu_user') + counted('used_cpu_sys')),
  };
}

async function scale(options: ScalingOptions, { signal }: CliContext): Promise<Scaling> {
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-scaling-'));
  const server = await slowServer(options.latency);
  const redis = await startRedis();
  const mainPath = fileURLToPath(new URL('./worker-main.js', import.meta.url));
  const processes = Array.from({ length: options.workers }, () =>
    startWorker({ mainPath, folder }, ['--queue', redis.url, '--concurrency', String(options.concurrency)]),
  );
  try {
    await Promise.all(processes.map((worker) => worker.printed(/takes jobs/)));
    const opened = await openRunWorkers(configOf(redis.url, server.baseUrl, options), {
      progress: silentProgress,
      signal,
    });
    if (opened === undefined) throw new Error('the config has no queue');
    const { target, close } = await opened.planned.open([]);
    try {
      return await measure(options, target, { redis, processes });
    } finally {
      await close();
      await opened.close();
    }
  } finally {
    for (const worker of processes) worker.kill('SIGKILL');
    await Promise.all(processes.map(({ ended }) => ended));
    await redis.remove();
    await server.close();
    rmSync(folder, { recursive: true });
  }
}

/** `npm run lab -- queue scaling`. */
export async function reportScaling(options: ScalingOptions, context: CliContext): Promise<void> {
  const found = await scale(options, context);
  const rows = [
    ['share of the ideal rate', found.share.toFixed(3)],
    ['calls a second', found.callsPerSecond.toFixed(1)],
    ['commands of Redis a job', found.commandsPerJob.toFixed(1)],
    ['bytes to Redis a job', found.bytesInPerJob.toFixed(0)],
    ['bytes from Redis a job', found.bytesOutPerJob.toFixed(0)],
    ['processor ms of the learner a job', found.learnerMs.toFixed(2)],
    ['processor ms of a worker a job', found.workerMs.toFixed(2)],
    ['processor ms of Redis a job', found.redisMs.toFixed(2)],
  ];
  printResult(context, { text: alignColumns(rows), json: { ...options, ...found } });
}
