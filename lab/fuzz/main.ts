import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { createAllTargets } from './targets/all-targets.ts';
import type { Finding, Tally, WorkerTask } from './worker.ts';

/**
 * Longest that one input may take, in processor time: the wall clock of a machine that does other work too says nothing
 * of the parser. One that sleeps instead is caught by the wall clock, much later.
 */
const LIMIT_MS = 2_000;
const WALL_LIMIT_MS = 600_000;
const LOOK_MS = 50;
/** More of one target are not worth reading before the first is mended. */
const MAX_FINDINGS = 50;

const root = process.cwd();
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

/** How a worker ended; one that died is a finding at its input as one that hung is. */
type End = { readonly kind: 'done' } | { readonly kind: 'stopped'; readonly index: number; readonly fault: string };

/** Processor time of this process; the thread that waits uses none of it. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function runWorker(task: Omit<WorkerTask, 'beat'>, onTally: (tally: Tally) => void): Promise<End> {
  const beat = new Int32Array(new SharedArrayBuffer(8));
  Atomics.store(beat, 0, task.from);
  const worker = new Worker(new URL('./worker.js', import.meta.url), {
    workerData: { ...task, beat },
    resourceLimits: { maxYoungGenerationSizeMb: 192, maxOldGenerationSizeMb: 1024 },
  });
  return new Promise((resolve) => {
    let [seen, sinceMs, sinceCpuMs] = [-1, performance.now(), cpuMs()];
    const stop = (fault: string): void => {
      clearInterval(watchdog);
      void worker.terminate().then(() => resolve({ kind: 'stopped', index: Atomics.load(beat, 0), fault }));
    };
    const watchdog = setInterval(() => {
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

async function fuzzTarget(name: string, seed: number, from: number, to: number, folder: string): Promise<Total> {
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
    const end = await runWorker({ root, target: name, seed, from: next, to, folder: path.join(folder, name) }, onTally);
    if (end.kind === 'done') break;
    // What the stopped batch had done is not counted, so it is done again up to the input at fault, and alone there.
    const doneTo = next + total.fired - begun;
    const alone = (a: number, b: number) =>
      runWorker({ root, target: name, seed, from: a, to: b, folder: path.join(folder, `${name}-alone`) }, onTally);
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

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      from: { type: 'string', default: '0' },
      target: { type: 'string', multiple: true },
    },
  });
  const [count, seed, from] = [Number(values.count), Number(values.seed), Number(values.from)];
  const folder = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'floodgate-fuzz-'));
  let faults = 0;
  const lines: string[] = [];
  for (const { name, baseBytes } of createAllTargets(root)) {
    if (values.target !== undefined && !values.target.includes(name)) continue;
    const began = performance.now();
    const total = await fuzzTarget(name, seed, from, from + count, folder);
    faults += total.findings.length;
    const { fired, parsed, refused, slowest, most, unmeasured } = total;
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    const beyond = `${(most.bytes / 1024).toFixed(0)} KiB beyond 4 x the input at most (input ${most.index}, allowed ${baseBytes / 1024})`;
    lines.push(
      `${name}: ${fired} inputs, ${parsed} parsed, ${refused} refused, ${total.findings.length} findings; slowest ${slowest.ms.toFixed(0)} ms (input ${slowest.index}); ${beyond}; ${unmeasured} unmeasured; ${seconds} s`,
    );
    say(lines.at(-1) as string);
  }
  rmSync(folder, { recursive: true, force: true });
  process.stdout.write(`${lines.join('\n')}\n${faults} findings\n`);
  process.exitCode = faults === 0 ? 0 : 1;
}

await main();
