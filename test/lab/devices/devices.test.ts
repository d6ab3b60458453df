import { beforeAll, describe, expect, it } from 'vitest';
import { largestDifference } from '../../../lab/devices/compare-devices.ts';
import { vulkanDevices } from '../../../lab/devices/describe-graphics.ts';
import { DEVICE_TASKS } from '../../../lab/devices/device-tasks.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { chooseSoftwareVulkan, HAS_WEBGPU } from '../../support/software-vulkan.ts';
import { lab } from '../lab-runner.ts';

interface Report {
  readonly parts: readonly { part: string; difference: number; cpuSeconds: number[]; deviceSeconds: number[] }[];
  readonly placements: readonly { op: string; provider: string; nodes: number; hasFloats: boolean }[];
}

/** Shaders are compiled for the processor. */
const SLOW_MS = 240_000;
const PARTS = DEVICE_TASKS.flatMap(({ parts }) => Object.keys(parts));

async function compare(...args: readonly string[]): Promise<Report> {
  const { code, stdout, stderr } = await lab(['devices', '--model', 'tiny', '--threads', '1', '--json', ...args]);
  expect(code, stderr).toBe(0);
  expect(liveSessionLabels()).toEqual([]);
  return JSON.parse(stdout);
}

describe('lab devices', () => {
  beforeAll(() => {
    if (HAS_WEBGPU) chooseSoftwareVulkan();
  });

  it.skipIf(!HAS_WEBGPU)(
    'WebGPU gives the results of the CPU in everything that a run computes, and computes it itself',
    async () => {
      const { parts, placements } = await compare('--device', 'webgpu', '--rounds', '0');
      expect(parts.map(({ part }) => part)).toEqual(PARTS);
      for (const { part, difference } of parts) expect(difference, part).toBeLessThan(1e-4);
      expect(parts.some(({ difference }) => difference > 0)).toBe(true); // rounding differs
      const left = placements.filter(({ provider, hasFloats }) => hasFloats && provider !== 'WebGpuExecutionProvider');
      expect(left).toEqual([{ op: 'Sign', provider: 'CPUExecutionProvider', nodes: 4, hasFloats: true }]);
    },
    SLOW_MS,
  );

  it('the CPU differs from itself in nothing, and every part is timed', async () => {
    const { parts, placements } = await compare('--device', 'cpu', '--rounds', '2');
    expect(parts.map(({ difference }) => difference)).toEqual(PARTS.map(() => 0));
    for (const { cpuSeconds, deviceSeconds } of parts) {
      expect([...cpuSeconds, ...deviceSeconds].filter((seconds) => seconds > 0)).toHaveLength(4);
    }
    expect([...new Set(placements.map(({ provider }) => provider))]).toEqual(['CPUExecutionProvider']);
  });

  it.each(['dml', 'coreml', 'cuda'])('%s is refused where it is missing, with what brings it', async (device) => {
    const { code, stdout, stderr } = await lab(['devices', '--model', 'tiny', '--device', device]);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toContain(`open a first session on ${device}`);
    expect(stderr).toContain(`hint: try --device cpu; ${device} `);
  });
});

describe('the difference of two results', () => {
  const gap = (actual: number[], expected: number[]) =>
    largestDifference({ a: Float32Array.from(actual) }, { a: Float32Array.from(expected) });

  it('is a share of the largest value of each tensor', () => {
    expect(gap([1, -8], [2, -8])).toEqual({ difference: 1 / 8, tensor: 'a' });
    expect(gap([0, 0], [0, 0]).difference).toBe(0);
    const scaled = largestDifference(
      { large: Float32Array.of(1000), small: Float32Array.of(2) },
      { large: Float32Array.of(1001), small: Float32Array.of(1) },
    );
    expect(scaled).toEqual({ difference: 1, tensor: 'small' });
  });

  it('is infinite for NaN, another length, and a tensor that is not there', () => {
    expect(gap([Number.NaN], [1]).difference).toBe(Number.POSITIVE_INFINITY);
    expect(gap([1, 1], [1]).difference).toBe(Number.POSITIVE_INFINITY);
    expect(gap([1], [0]).difference).toBe(Number.POSITIVE_INFINITY);
    expect(largestDifference({}, { a: Float32Array.of(1) }).difference).toBe(Number.POSITIVE_INFINITY);
  });
});

it('reads devices and drivers from the summary of vulkaninfo', () => {
  const summary = `Devices:
========
GPU0:
	apiVersion         = 1.3.255
	deviceName         = NVIDIA H100
	driverName         = NVIDIA
	driverInfo         = 550.54
GPU1:
	deviceName         = llvmpipe (LLVM 15.0.6, 256 bits)
	driverName         = llvmpipe
	driverInfo         = Mesa 22.3.6 (LLVM 15.0.6)
`;
  expect(vulkanDevices(summary)).toEqual([
    'NVIDIA H100, driver NVIDIA 550.54',
    'llvmpipe (LLVM 15.0.6, 256 bits), driver llvmpipe Mesa 22.3.6 (LLVM 15.0.6)',
  ]);
});
