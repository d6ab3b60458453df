import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { type FuzzTarget, fire, inputOf } from './fuzz-target.ts';
import { createMemoryMeter, type MemoryMeter } from './memory-meter.ts';
import { createAllTargets } from './targets/all-targets.ts';

export interface WorkerTask {
  readonly root: string;
  readonly target: string;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  readonly folder: string;
  /** [index now, times started]: the watchdog sees by it when an input takes too long. */
  readonly beat: Int32Array;
}

export interface Finding {
  readonly index: number;
  readonly fault: string;
}

/** Sums over a stretch of inputs. */
export interface Tally {
  readonly fired: number;
  readonly parsed: number;
  readonly refused: number;
  readonly findings: readonly Finding[];
  /** Processor time. */
  readonly slowestMs: number;
  readonly slowestIndex: number;
  /** Most that one input allocated beyond four times its own size. */
  readonly mostBeyondBytes: number;
  readonly mostBeyondIndex: number;
  /** Inputs inside which the collector ran both times they were tried: allocation not known. */
  readonly unmeasured: number;
}

const FACTOR = 4;
const BATCH = 500;

interface Measured {
  readonly index: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly cpuMs: number;
  readonly beyondBytes: number;
}

/** Fires one input and measures it; the outcome is added to `sums`. */
async function shoot(task: WorkerTask, target: FuzzTarget, meter: MemoryMeter, index: number) {
  const input = inputOf(target, task.seed, index);
  Atomics.store(task.beat, 0, index);
  Atomics.add(task.beat, 1, 1);
  meter.start();
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const shot = await fire(target, input, task.folder);
  const endMs = performance.now();
  const cpu = process.cpuUsage(cpuBefore);
  const beyondBytes = meter.stop() - FACTOR * input.bytes.length;
  return { shot, measured: { index, startMs, endMs, cpuMs: (cpu.user + cpu.system) / 1000, beyondBytes } };
}

async function runBatch(
  task: WorkerTask,
  target: FuzzTarget,
  meter: MemoryMeter,
  from: number,
  to: number,
): Promise<Tally> {
  const findings: Finding[] = [];
  const all: Measured[] = [];
  const counts = { parsed: 0, refused: 0, fault: 0 };
  for (let index = from; index < to; index++) {
    const { shot, measured } = await shoot(task, target, meter, index);
    counts[shot.outcome]++;
    if (shot.fault !== undefined) findings.push({ index, fault: shot.fault });
    all.push(measured);
  }
  await meter.settle();
  let unmeasured = 0;
  const known: Measured[] = [];
  for (const first of all) {
    let measured = first;
    for (let tries = 0; tries < 3 && meter.collectedWithin(measured.startMs, measured.endMs); tries++) {
      measured = (await shoot(task, target, meter, first.index)).measured;
      await meter.settle();
    }
    if (meter.collectedWithin(measured.startMs, measured.endMs)) unmeasured++;
    known.push(measured);
  }
  for (const { index, beyondBytes } of known) {
    if (beyondBytes <= target.baseBytes) continue;
    // Once more: compilation of code that runs for the first time is no allocation of the parser's.
    const again = (await shoot(task, target, meter, index)).measured;
    if (again.beyondBytes <= target.baseBytes) continue;
    findings.push({
      index,
      fault: `allocated ${again.beyondBytes} bytes beyond ${FACTOR} x the input, allowed ${target.baseBytes}`,
    });
  }
  const slowest = all.reduce((a, b) => (b.cpuMs > a.cpuMs ? b : a));
  const most = known.reduce((a, b) => (b.beyondBytes > a.beyondBytes ? b : a));
  return {
    fired: all.length,
    parsed: counts.parsed,
    refused: counts.refused,
    findings,
    slowestMs: slowest.cpuMs,
    slowestIndex: slowest.index,
    mostBeyondBytes: most.beyondBytes,
    mostBeyondIndex: most.index,
    unmeasured,
  };
}

async function work(task: WorkerTask): Promise<void> {
  const target = createAllTargets(task.root).find(({ name }) => name === task.target) as FuzzTarget;
  const meter = createMemoryMeter();
  mkdirSync(task.folder, { recursive: true });
  for (let from = task.from; from < task.to; from += BATCH) {
    const tally = await runBatch(task, target, meter, from, Math.min(task.to, from + BATCH));
    parentPort?.postMessage(tally);
  }
  rmSync(path.resolve(task.folder), { recursive: true, force: true });
}

await work(workerData as WorkerTask);
