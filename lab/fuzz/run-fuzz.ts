import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { FloodgateError } from '../../src/base/errors.ts';
import { packageFile } from '../../src/base/package-root.ts';
import { createAllTargets } from './targets/all-targets.ts';
import type { Finding, Tally, WorkerTask } from './worker.ts';

/**
 * Longest that one input may take, in processor time: on a shared machine the wall clock says nothing of the parser. A
 * parser that sleeps is caught by the wall clock, much later.
 */
const LIMIT_MS = 2_000;
const WALL_LIMIT_MS = 600_000;
const LOOK_MS = 50;
/** A target with more findings is stopped: fix the first ones. */
const MAX_FINDINGS = 50;

const root = fileURLToPath(packageFile('.'));
const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Total {
  fired: number;
  parsed: number;
  refused: number;
  unmeasured: number;
  slowest: { ms: number; index: number };
  most: { bytes: number; index: number };
  readonly findings: Finding[];
}

function add(total: Total, tally: Tally): void {
  total.fired += tally.fired;
  total.parsed += tally.parsed;
  total.refused += tally.refused;
  total.unmeasured += tally.unmeasured;
  total.findings.push(...tally.findings);
  if (tally.slowestMs > total.slowest.ms) total.slowest = { ms: tally.slowestMs, index: tally.slowestIndex };
  if (tally.mostBeyondBytes > total.most.bytes)
    total.most = { bytes: tally.mostBeyondBytes, index: tally.mostBeyondIndex };
}

/** How a worker ended: a worker that dies is a finding at its input, as one that hangs is. */
type End = { readonly kind: 'done' } | { readonly kind: 'stopped'; readonly index: number; readonly fault: string };

/** Processor time of this process; the thread that waits uses none of it. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

type Task = Omit<WorkerTask, 'beat'> & { readonly signal: AbortSignal };

/** @throws FloodgateError `interrupted` on abort. */
function runWorker({ signal, ...task }: Task, onTally: (tally: Tally) => void): Promise<End> {
  const beat = new Int32Array(new SharedArrayBuffer(8));
  Atomics.store(beat, 0, task.from);
  const worker = new Worker(new URL('./worker.js', import.meta.url), {
    workerData: { ...task, beat },
    resourceLimits: { maxYoungGenerationSizeMb: 192, maxOldGenerationSizeMb: 1024 },
  });
  return new Promise((resolve, reject) => {
    let [seen, sinceMs, sinceCpuMs] = [-1, performance.now(), cpuMs()];
    const stop = (fault: string): void => {
      clearInterval(watchdog);
      void worker.terminate().then(() => resolve({ kind: 'stopped', index: Atomics.load(beat, 0), fault }));
    };
    const interrupt = (): void => {
      clearInterval(watchdog);
      const error = new FloodgateError('interrupted', `fuzz: interrupted in ${task.target}`);
      void worker.terminate().then(() => reject(error));
    };
    const watchdog = setInterval(() => {
      if (signal.aborted) interrupt();
      const shots = Atomics.load(beat, 1);
      if (shots !== seen) [seen, sinceMs, sinceCpuMs] = [shots, performance.now(), cpuMs()];
      else if (shots > 0 && cpuMs() - sinceCpuMs > LIMIT_MS) stop(`took more than ${LIMIT_MS} ms`);
      else if (shots > 0 && performance.now() - sinceMs > WALL_LIMIT_MS) stop(`slept more than ${WALL_LIMIT_MS} ms`);
    }, LOOK_MS);
    worker.on('message', (tally: Tally) => {
      [sinceMs, sinceCpuMs] = [performance.now(), cpuMs()];
      onTally(tally);
    });
    worker.on('error', (error) => stop(`ended its worker: ${error.message}`));
    worker.on('exit', (code) => {
      clearInterval(watchdog);
      if (code === 0) resolve({ kind: 'done' });
    });
  });
}

const sayFinding = (name: string, seed: number, { index, fault }: Finding): void =>
  say(`FINDING ${name} --seed ${seed} --from ${index} --count 1: ${fault}`);

/** Inputs `from` to `to` of one target. */
interface Stretch {
  readonly name: string;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** Scratch. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

async function fuzzTarget({ name, seed, from, to, folder, signal }: Stretch): Promise<Total> {
  const total: Total = {
    fired: 0,
    parsed: 0,
    refused: 0,
    unmeasured: 0,
    slowest: { ms: 0, index: -1 },
    most: { bytes: 0, index: -1 },
    findings: [],
  };
  let reported = 0;
  const onTally = (tally: Tally): void => {
    add(total, tally);
    for (const finding of tally.findings) sayFinding(name, seed, finding);
    if (total.fired - reported >= 10_000) {
      reported = total.fired;
      say(`${name}: ${total.fired} of ${to - from}, ${total.findings.length} findings`);
    }
  };
  let next = from;
  while (next < to && total.findings.length < MAX_FINDINGS) {
    const begun = total.fired;
    const own = { root, target: name, seed, signal };
    const end = await runWorker({ ...own, from: next, to, folder: path.join(folder, name) }, onTally);
    if (end.kind === 'done') break;
    // The stopped batch was not counted: it is done again up to the input at fault, and that input alone.
    const doneTo = next + total.fired - begun;
    const alone = (a: number, b: number) =>
      runWorker({ ...own, from: a, to: b, folder: path.join(folder, `${name}-alone`) }, onTally);
    if (doneTo < end.index) await alone(doneTo, end.index);
    const again = await alone(end.index, end.index + 1);
    if (again.kind === 'stopped') {
      total.fired++;
      total.findings.push({ index: end.index, fault: end.fault });
      sayFinding(name, seed, { index: end.index, fault: end.fault });
    }
    next = end.index + 1;
  }
  return total;
}

export interface FuzzPlan {
  readonly seed: number;
  /** First input of every target, and how many. */
  readonly from: number;
  readonly count: number;
  /** All of them when absent. */
  readonly targets?: readonly string[] | undefined;
}

export interface FuzzOutcome {
  /** One a target. */
  readonly lines: readonly string[];
  readonly findings: number;
}

/** Names of the parsers under fire. */
export function fuzzTargetNames(): string[] {
  return createAllTargets(root).map(({ name }) => name);
}

function summaryLine(name: string, baseBytes: number, total: Total, seconds: number): string {
  const { fired, parsed, refused, slowest, most, unmeasured, findings } = total;
  return [
    `${name}: ${fired} inputs, ${parsed} parsed, ${refused} refused, ${findings.length} findings`,
    `slowest ${slowest.ms.toFixed(0)} ms (input ${slowest.index})`,
    `${(most.bytes / 1024).toFixed(0)} KiB beyond 4 x the input at most (input ${most.index}, allowed ${baseBytes / 1024})`,
    `${unmeasured} unmeasured`,
    `${seconds.toFixed(0)} s`,
  ].join('; ');
}

/**
 * Fires hostile inputs at every target, in a worker each; findings and progress go to standard error.
 *
 * @throws FloodgateError `interrupted` on abort.
 */
export async function runFuzz({ seed, from, count, targets }: FuzzPlan, signal: AbortSignal): Promise<FuzzOutcome> {
  const folder = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'floodgate-fuzz-'));
  const lines: string[] = [];
  let findings = 0;
  try {
    for (const { name, baseBytes } of createAllTargets(root)) {
      if (targets !== undefined && !targets.includes(name)) continue;
      const began = performance.now();
      const total = await fuzzTarget({ name, seed, from, to: from + count, folder, signal });
      findings += total.findings.length;
      const line = summaryLine(name, baseBytes, total, (performance.now() - began) / 1000);
      lines.push(line);
      say(line);
    }
    return { lines, findings };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
