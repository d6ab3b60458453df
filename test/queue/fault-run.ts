import { existsSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type CuttableWay, type RedisServer, startRedis, startWay } from '../../lab/queue/redis-server.ts';
import { startWorker, type WorkerProcess } from '../../lab/queue/worker-process.ts';
import type { RandomStream } from '../../src/base/random.ts';
import {
  type CampaignPlace,
  type CampaignProcess,
  resumeProcess,
  startRunProcess,
} from '../stages/campaign-process.ts';

/**
 * The answers of the target of these runs: a function of the attack. Each call leaves a byte in `CALLS`, but for the
 * harmless prompts by which a run rehearses and measures its target.
 */
const TARGET = `
import { appendFileSync } from 'node:fs';
export default async ({ attack }) => {
  if (!/Say hello|Monday|rainbow/.test(attack)) appendFileSync(process.env.CALLS, '.');
  await new Promise((resolve) => setTimeout(resolve, Number(process.env.DELAY_MS)));
  return attack.includes('z') ? 'alarm bell' : 'fine thanks, not today';
};
`;

/** Puts that target beside the config of a place, and returns the place whose runs ask it. */
export function withSlowTarget(place: CampaignPlace, overrides: readonly string[]): CampaignPlace {
  writeFileSync(path.join(place.folder, 'slow.mjs'), TARGET);
  const target = 'target={kind: module, file: ./slow.mjs, responses: 2, concurrency: 64}';
  return { ...place, overrides: [...place.overrides, target, ...overrides] };
}

/** Faults that a run with a queue meets. */
export const FAULTS = [
  ...(['worker killed', 'worker stopped', 'Redis killed', 'network cut', 'network frozen', 'learner killed'] as const),
];
/** Ctrl-C is no fault of a long run by chance: it costs the answers under way, as its tests say. */
export type Fault = (typeof FAULTS)[number] | 'learner stopped';

export interface FaultRunOptions {
  readonly name: string;
  readonly faults: readonly Fault[];
  /** Calls of the target between two faults. */
  readonly callsBetween: number;
  readonly delayMs: number;
  /** How long a network is cut. */
  readonly cutMs: () => number;
  readonly workers: number;
  /** Silence after which a worker's jobs are another one's; 2 when absent. */
  readonly lockSeconds?: number;
  readonly stream: RandomStream;
}

export interface FaultRunResult {
  /** Faults that met a run. */
  readonly met: readonly Fault[];
  /** Calls that the target saw, those for nothing included. */
  readonly calls: number;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A run, its workers, and a Redis behind a way that can be cut. */
class FaultRun {
  private readonly workers: WorkerProcess[] = [];
  private learner: CampaignProcess;
  private readonly place: CampaignPlace;
  private readonly options: FaultRunOptions;
  private readonly redis: RedisServer;
  private readonly way: CuttableWay;
  readonly callsFile: string;

  constructor(place: CampaignPlace, options: FaultRunOptions, redis: RedisServer, way: CuttableWay) {
    this.options = options;
    this.redis = redis;
    this.way = way;
    this.place = { ...place, overrides: [...place.overrides, `queue.url=${way.url}`] };
    this.callsFile = path.join(place.folder, `${options.name}.calls`);
    writeFileSync(this.callsFile, '');
    for (let i = 0; i < options.workers; i++) this.workers.push(this.startWorker());
    this.learner = this.goOn();
  }

  private startWorker(): WorkerProcess {
    const { delayMs, lockSeconds = 2 } = this.options;
    const code = ['--allow-local-code', path.join(this.place.folder, 'slow.mjs')];
    return startWorker(this.place, ['--queue', this.way.url, '--lock-seconds', String(lockSeconds), ...code], {
      CALLS: this.callsFile,
      DELAY_MS: String(delayMs),
    });
  }

  private goOn(): CampaignProcess {
    const { name } = this.options;
    const isThere = existsSync(path.join(this.place.runsFolder, name));
    return isThere ? resumeProcess(this.place, name) : startRunProcess(this.place, name);
  }

  get calls(): number {
    return statSync(this.callsFile).size;
  }

  private get isOver(): boolean {
    return this.learner.child.exitCode !== null;
  }

  /** Ends when the target was called so often since, or the run is over. @returns whether the run continues. */
  async reached(calls: number): Promise<boolean> {
    while (this.calls < calls && !this.isOver) await sleep(10);
    return !this.isOver;
  }

  private async replaceWorker(signal: NodeJS.Signals): Promise<void> {
    const place = this.options.stream.nextInt(this.workers.length);
    const old = this.workers[place] as WorkerProcess;
    old.kill(signal);
    await old.ended;
    this.workers[place] = this.startWorker();
  }

  async meet(fault: Fault): Promise<void> {
    switch (fault) {
      case 'worker killed':
        return this.replaceWorker('SIGKILL');
      case 'worker stopped':
        return this.replaceWorker('SIGINT');
      case 'Redis killed':
        await this.redis.stop('SIGKILL');
        await sleep(200);
        return this.redis.start();
      case 'network cut':
        this.way.cut();
        await sleep(this.options.cutMs());
        this.way.mend();
        return;
      case 'network frozen':
        this.way.freeze();
        await sleep(this.options.cutMs());
        this.way.mend();
        return;
      case 'learner killed':
        return this.replaceLearner('SIGKILL');
      case 'learner stopped':
        return this.replaceLearner('SIGINT');
    }
  }

  private async replaceLearner(signal: NodeJS.Signals): Promise<void> {
    this.learner.kill(signal);
    await this.learner.outcome;
    this.learner = this.goOn();
  }

  async finish(): Promise<void> {
    const { code, stderr } = await this.learner.outcome;
    if (code !== 0) throw new Error(`the run ended with ${code}: ${stderr}`);
  }

  async close(): Promise<void> {
    this.learner.kill('SIGKILL');
    for (const worker of this.workers) worker.kill('SIGKILL');
    await Promise.all(this.workers.map(({ ended }) => ended));
  }
}

/** Runs a campaign with a queue, and lets faults happen to it. */
export async function runWithFaults(place: CampaignPlace, options: FaultRunOptions): Promise<FaultRunResult> {
  const redis = await startRedis();
  const way = await startWay(redis.port);
  const run = new FaultRun(place, options, redis, way);
  const met: Fault[] = [];
  try {
    for (const fault of options.faults) {
      if (!(await run.reached(run.calls + options.callsBetween))) break;
      await run.meet(fault);
      met.push(fault);
    }
    await run.finish();
    return { met, calls: run.calls };
  } finally {
    await run.close();
    await way.close();
    await redis.remove();
  }
}
