import { Option } from 'commander';
import { describeMachine, type Machine } from '../../bench/machine.ts';
import { spreadOf } from '../../bench/summary.ts';
import { nowMs } from '../../src/base/clock.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { packageVersion } from '../../src/base/package-root.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { parseCount, parsePositiveCount } from '../../src/cli/options.ts';
import { DEVICES, type Device, defaultThreads } from '../../src/engine/runtime/device.ts';
import { runtimeVersion } from '../../src/engine/runtime/session.ts';
import { settleSourceOptions } from '../../src/models/sources/source-environment.ts';
import { type Experiment, examples } from '../experiment.ts';
import { type Comparison, compareDevices, type PartResult } from './compare-devices.ts';
import { describeGraphics } from './describe-graphics.ts';
import { BATCHES, type BatchName, type BatchSizes, FIXTURES, openDeviceModels, SHAPES } from './device-models.ts';
import type { Placement } from './node-placement.ts';

interface DevicesOptions {
  readonly device: Device;
  readonly model: string;
  readonly batch: BatchName;
  readonly rounds: number;
  readonly threads: number;
}

/** Largest difference that still counts as the same result. */
export const LARGEST_DIFFERENCE = 1e-3;

interface DevicesReport extends Comparison {
  readonly date: string;
  readonly device: Device;
  readonly model: string;
  readonly batch: BatchSizes;
  readonly threads: number;
  readonly machine: Machine;
  /** Devices and drivers as the machine's own tools name them. */
  readonly graphics: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
}

const PROVIDER: Readonly<Record<Device, string>> = {
  cpu: 'CPUExecutionProvider',
  webgpu: 'WebGpuExecutionProvider',
  cuda: 'CUDAExecutionProvider',
  dml: 'DmlExecutionProvider',
  coreml: 'CoreMLExecutionProvider',
};

/** CPU time over device time of each round. */
function ratios({ cpuSeconds, deviceSeconds }: PartResult): number[] {
  return cpuSeconds.map((seconds, round) => seconds / (deviceSeconds[round] as number));
}

function partsTable({ parts }: Comparison): string {
  const isTimed = parts.some(({ cpuSeconds }) => cpuSeconds.length > 0);
  const rows = parts.map((part) => {
    const difference = [part.part, part.difference === 0 ? '0' : part.difference.toExponential(1)];
    if (!isTimed) return difference;
    const { median, min, max } = spreadOf(ratios(part));
    const seconds = [part.cpuSeconds, part.deviceSeconds].map((values) => spreadOf(values).median.toPrecision(3));
    return [...difference, ...seconds, `${median.toPrecision(3)} (${min.toPrecision(3)}..${max.toPrecision(3)})`];
  });
  const times = isTimed ? ['CPU s', 'device s', 'CPU time / device time'] : [];
  return alignColumns([['work', 'largest difference', ...times], ...rows]);
}

/** Ops that the device left to the CPU: those on numbers of the model, and those on sizes and indices alone. */
export function leftToCpu(placements: readonly Placement[], device: Device): { floats: string[]; indices: string[] } {
  const left = device === 'cpu' ? [] : placements.filter(({ provider }) => provider !== PROVIDER[device]);
  const named = (hasFloats: boolean): string[] =>
    left.filter((placement) => placement.hasFloats === hasFloats).map(({ op, nodes }) => `${op} ${nodes}`);
  return { floats: named(true), indices: named(false) };
}

function batchText({ rows, tokens, prompt, responses }: BatchSizes): string {
  return `${rows} attacks of ${tokens} tokens after ${prompt}, ${responses} responses`;
}

function reportText(report: DevicesReport): string {
  const { machine, graphics, versions, placements, device } = report;
  const nodes = placements.reduce((sum, placement) => sum + placement.nodes, 0);
  const own = placements.filter(({ provider }) => provider === PROVIDER[device]);
  const { floats, indices } = leftToCpu(placements, device);
  const listed = (ops: readonly string[]): string => (ops.length === 0 ? 'none' : ops.join(', '));
  return [
    `${report.date}, ${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, ${machine.system}`,
    `graphics: ${graphics.join('; ') || 'no tool of this machine names them (nvidia-smi, vulkaninfo --summary)'}`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
    `device ${device}, model ${report.model}, ${report.threads} threads on the CPU; ${batchText(report.batch)}`,
    '',
    partsTable(report),
    '',
    `nodes on ${device}: ${own.reduce((sum, placement) => sum + placement.nodes, 0)} of ${nodes}`,
    `ops left to the CPU, with numbers of the model: ${listed(floats)}`,
    `ops left to the CPU, sizes and indices alone: ${listed(indices)}`,
  ].join('\n');
}

/** A device that ran nothing was not compared, whatever the differences say. */
function assertRan({ placements }: Comparison, device: Device): void {
  if (placements.some(({ provider, hasFloats }) => provider === PROVIDER[device] && hasFloats)) return;
  const seen = [...new Set(placements.map(({ provider }) => provider))].join(', ');
  throw new FloodgateError('runtime', `compare devices: no node ran on ${device}, got ${seen || 'no profile'}`);
}

async function compare(options: DevicesOptions, context: CliContext): Promise<void> {
  const { device, model, batch, threads, rounds } = options;
  const machine = describeMachine();
  const { cacheDir } = settleSourceOptions(context.cacheDir === undefined ? {} : { cacheDir: context.cacheDir });
  const models = await openDeviceModels(model, batch, cacheDir);
  const comparison = await compareDevices(models, {
    device,
    threads,
    rounds,
    signal: context.signal,
    notify: (line) => context.notify(line),
  });
  assertRan(comparison, device);
  const report: DevicesReport = {
    date: new Date(nowMs()).toISOString().slice(0, 10),
    device,
    model,
    batch: models.sizes,
    threads,
    machine,
    graphics: describeGraphics(),
    versions: {
      floodgate: packageVersion(),
      node: process.versions.node,
      'onnxruntime-node': runtimeVersion(),
    },
    ...comparison,
  };
  printResult(context, { text: reportText(report), json: report });
  const wrong = comparison.parts.filter(({ difference }) => !(difference <= LARGEST_DIFFERENCE));
  if (wrong.length === 0) return;
  const named = wrong.map(({ part, difference, worstTensor }) => `${part} ${difference} in ${worstTensor}`);
  throw new FloodgateError('runtime', `compare devices: ${device} differs from the CPU: ${named.join('; ')}`);
}

/** `npm run lab -- devices`. */
export const devices: Experiment = {
  name: 'devices',
  description: 'a device against the CPU: the same results, and how much faster (docs/devices.md)',
  define: (command, context) =>
    command
      .addOption(
        new Option('--device <device>', 'execution provider of ONNX Runtime').choices(DEVICES).default('webgpu'),
      )
      .option('--model <model>', `${SHAPES} (random weights), ${FIXTURES}, or a model that was pulled`, SHAPES)
      .addOption(new Option('--batch <size>', 'of each kind of work').choices(Object.keys(BATCHES)).default('full'))
      .option('--rounds <count>', 'timed rounds; 0 compares the results alone', parseCount, 5)
      .option('--threads <count>', 'threads of the CPU', parsePositiveCount, defaultThreads())
      .addHelpText(
        'after',
        examples(
          'devices',
          `devices --device cuda --model smollm2-135m-instruct`,
          `devices --model ${FIXTURES} --rounds 0`,
        ),
      )
      .action((options: DevicesOptions) => compare(options, context)),
};
