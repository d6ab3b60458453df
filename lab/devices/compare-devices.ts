import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { meterSessions } from '../../bench/sides/session-meter.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import type { ComputeOptions, Device } from '../../src/engine/runtime/device.ts';
import { type GraphSession, openSession } from '../../src/engine/runtime/session.ts';
import type { DeviceModels } from './device-models.ts';
import { ALL_SESSIONS, type Computed, DEVICE_TASKS, type DeviceTask } from './device-tasks.ts';
import { type Placement, takePlacements } from './node-placement.ts';

export interface ComparisonOptions {
  readonly device: Device;
  readonly threads: number;
  /** Timed rounds after one of warm-up; 0 compares the results alone. */
  readonly rounds: number;
  readonly signal?: AbortSignal;
  /** Told the parts of the work that begin. */
  readonly notify?: (line: string) => void;
}

/** One part of the work on the device and on the CPU. */
export interface PartResult {
  readonly part: string;
  /** Largest difference from the CPU in any tensor, as a share of the largest value that the CPU has in that tensor. */
  readonly difference: number;
  /** The tensor of that difference. */
  readonly worstTensor: string;
  /** Seconds of each round inside the runtime. */
  readonly cpuSeconds: readonly number[];
  readonly deviceSeconds: readonly number[];
}

export interface Comparison {
  readonly parts: readonly PartResult[];
  readonly placements: readonly Placement[];
}

/** Largest |a - b| of each tensor over the largest |b|; infinity for NaN, a missing tensor or another length. */
export function largestDifference(actual: Computed, expected: Computed): { difference: number; tensor: string } {
  let worst = { difference: -1, tensor: '' };
  for (const tensor of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
    const difference = differenceOf(actual[tensor], expected[tensor]);
    if (difference > worst.difference) worst = { difference, tensor };
  }
  return worst;
}

function differenceOf(actual: Float32Array | undefined, expected: Float32Array | undefined): number {
  if (actual === undefined || actual.length !== expected?.length) return Number.POSITIVE_INFINITY;
  let gap = 0;
  let scale = 0;
  for (const [i, value] of expected.entries()) {
    const own = Math.abs((actual[i] as number) - value);
    if (Number.isNaN(own)) return Number.POSITIVE_INFINITY;
    gap = Math.max(gap, own);
    scale = Math.max(scale, Math.abs(value));
  }
  return gap === 0 ? 0 : gap / scale;
}

/** Runs the task once under a profile. */
async function runOnce(task: DeviceTask, models: DeviceModels, compute: ComputeOptions) {
  const opened = await task.open(models, compute);
  try {
    return await opened.run();
  } finally {
    await opened.close();
  }
}

/** Seconds of each session of the task in each round, both devices in turn. */
async function time(task: DeviceTask, models: DeviceModels, options: ComparisonOptions) {
  const { device, threads, rounds } = options;
  const meter = meterSessions();
  const cpu = await task.open(models, { device: 'cpu', threads });
  try {
    const other = await task.open(models, { device, threads });
    try {
      const taken: { cpu: Record<string, number>; device: Record<string, number> }[] = [];
      for (let round = 0; round <= rounds; round++) {
        if (options.signal?.aborted) throw new FloodgateError('interrupted', 'compare devices: interrupted');
        meter.take();
        await cpu.run();
        const onCpu = meter.take();
        await other.run();
        taken.push({ cpu: onCpu, device: meter.take() });
      }
      return taken.slice(1); // the first run allocates, and compiles shaders
    } finally {
      await other.close();
    }
  } finally {
    await cpu.close();
  }
}

function secondsOf(bySession: Readonly<Record<string, number>>, session: string): number {
  if (session !== ALL_SESSIONS) return bySession[session] ?? Number.NaN;
  return Object.values(bySession).reduce((sum, seconds) => sum + seconds, 0);
}

async function compareTask(task: DeviceTask, models: DeviceModels, options: ComparisonOptions, profilePrefix: string) {
  const { device, threads, rounds } = options;
  const expected = await runOnce(task, models, { device: 'cpu', threads });
  const actual = await runOnce(task, models, { device, threads, profilePrefix });
  const times = rounds > 0 ? await time(task, models, options) : [];
  return Object.entries(task.parts).map(([part, session]): PartResult => {
    const { difference, tensor } = largestDifference(actual[part] ?? {}, expected[part] ?? {});
    return {
      part,
      difference,
      worstTensor: tensor,
      cpuSeconds: times.map((taken) => secondsOf(taken.cpu, session)),
      deviceSeconds: times.map((taken) => secondsOf(taken.device, session)),
    };
  });
}

/**
 * Opens the smallest session on the device. While it is open, the device keeps what it has compiled for others.
 * @throws FloodgateError `runtime` when the device is missing.
 */
export async function holdDevice(device: Device, threads: number): Promise<GraphSession> {
  const g = new GraphBuilder();
  g.output('y', g.unary('exp', g.input('x', 'float32', [1])));
  return openSession(g.build(), { device, threads, label: 'a first session' });
}

/**
 * Computes everything that a run computes in a model, on the CPU and on the device.
 * @throws FloodgateError `runtime` when the device is missing.
 */
export async function compareDevices(models: DeviceModels, options: ComparisonOptions): Promise<Comparison> {
  await using _held = await holdDevice(options.device, options.threads);
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-devices-'));
  try {
    const profilePrefix = join(folder, 'profile');
    const parts: PartResult[] = [];
    for (const task of DEVICE_TASKS) {
      if (options.signal?.aborted) throw new FloodgateError('interrupted', 'compare devices: interrupted');
      options.notify?.(`compares ${Object.keys(task.parts).join(' and ')}`);
      parts.push(...(await compareTask(task, models, options, profilePrefix)));
    }
    return { parts, placements: takePlacements(profilePrefix) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
