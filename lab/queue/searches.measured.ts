import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { openStore } from '../../src/runs/store/run-store.ts';
import { type CampaignPlace, startRunProcess } from '../../test/stages/campaign-process.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../../test/stages/tiny-campaign.ts';
import { builtProgram } from '../../test/support/compiled-source.ts';
import { slowServer } from '../slow-server.ts';
import { type RedisServer, startRedis } from './redis-server.ts';
import { startWorker, type WorkerProcess } from './worker-process.ts';

/** `SEARCH_UPDATES` and `SEARCH_WORKERS` change them. */
const UPDATES = Number(process.env.SEARCH_UPDATES ?? 40);
const WORKERS = Number(process.env.SEARCH_WORKERS ?? 2);
/** Attacks of one update, all of them fresh. */
const BATCH = 64;
const DEPTH = 4;
const LATENCY_MS = 200;
/** Clock ticks of a second, by which Linux counts processor time. */
const TICKS = 100;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

let tiny: TinyCampaign;
let redis: RedisServer;
let server: Awaited<ReturnType<typeof slowServer>>;
let place: CampaignPlace;
let workers: WorkerProcess[] = [];

beforeAll(async () => {
  tiny = await createTinyCampaign();
  redis = await startRedis();
  server = await slowServer(LATENCY_MS);
  const target = `{kind: openai, baseUrl: '${server.baseUrl}', model: slow, concurrency: ${BATCH}, responses: 1, checkAnswers: false}`;
  const tinyPlace = placeOfTiny(tiny, builtProgram());
  const overrides = [
    `target=${target}`,
    'attackers=[sft,gflownet]',
    `gflownet={objective: vargrad, updates: ${UPDATES}, batchSize: 32, accumulation: 2, warmupUpdates: 0, sampling: {freshShare: 1}, replay: {seedWithSft: false}, checkpointEveryUpdates: 1000}`,
    `gflownet.pipeline.depth=${DEPTH}`,
    'watch.everyUpdates=0',
    'evaluation={attacks: 1, responses: 1, controls: 0, causes: {clusters: 0}}',
  ];
  place = { ...tinyPlace, overrides: [...tinyPlace.overrides, ...overrides] };
  workers = Array.from({ length: WORKERS }, () =>
    startWorker(place, ['--queue', redis.url, '--concurrency', String(BATCH)]),
  );
  await Promise.all(workers.map((worker) => worker.printed(/takes jobs/)));
});
afterAll(async () => {
  for (const worker of workers) worker.kill('SIGKILL');
  await Promise.all(workers.map(({ ended }) => ended));
  await server?.close();
  await redis?.remove();
  await tiny?.remove();
});

/** Processor seconds of a process so far; undefined when it has ended. */
function cpuOf(pid: number | undefined): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return undefined;
  }
}

/** Processor seconds of a process at times of day, ms. */
function watchCpu(pid: number | undefined) {
  const seen: { readonly ms: number; readonly cpu: number }[] = [];
  const timer = setInterval(() => {
    const cpu = cpuOf(pid);
    if (cpu !== undefined) seen.push({ ms: Date.now(), cpu });
  }, 50);
  const at = (ms: number): number => seen.findLast((each) => each.ms <= ms)?.cpu ?? 0;
  return { between: (from: number, to: number) => at(to) - at(from), stop: () => clearInterval(timer) };
}

async function measure(name: string, overrides: readonly string[]): Promise<void> {
  const run = startRunProcess({ ...place, overrides: [...place.overrides, ...overrides] }, name);
  const learner = watchCpu(run.child.pid);
  const others = workers.map(({ child }) => watchCpu(child.pid));
  const { code, stderr } = await run.outcome;
  for (const each of [learner, ...others]) each.stop();
  if (code !== 0) throw new Error(stderr);
  const store = await openStore(path.join(place.runsFolder, name, 'run.db'), { readOnly: true });
  const stage = store.stages().find((each) => each.name === 'gflownet');
  store.close();
  const [from, to] = [stage?.startedMs as number, stage?.finishedMs as number];
  const seconds = (to - from) / 1000;
  const worked = others.reduce((sum, each) => sum + each.between(from, to), 0);
  const rate = (UPDATES * BATCH) / seconds;
  const msOf = (cpu: number): string => ((1000 * cpu) / UPDATES).toFixed(0);
  say(
    `RESULT ${name}: ${seconds.toFixed(1)} s, ${rate.toFixed(0)} attacks a second; processor time of an update: ` +
      `${msOf(learner.between(from, to))} ms of the learner, ${msOf(worked)} ms of the workers`,
  );
}

test(`${UPDATES} updates of ${BATCH} attacks, ${WORKERS} workers, a server of ${LATENCY_MS} ms, depth ${DEPTH}`, async () => {
  const queue = `queue.url=${redis.url}`;
  const searches = 'gflownet.pipeline.searches=workers';
  await measure('warm', [queue, searches]);
  await measure('one-process', []);
  await measure('asks-on-workers', [queue]);
  await measure('searches-on-workers', [queue, searches]);
  await measure('searches-by-arrival', [queue, searches, 'gflownet.pipeline.order=arrival']);
});
