import { availableParallelism } from 'node:os';
import { FloodgateError } from '../../base/errors.ts';

/** Execution providers that ONNX Runtime's Node package can be asked for. */
export const DEVICES = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;
export type Device = (typeof DEVICES)[number];

export interface ComputeOptions {
  readonly device: Device;
  /** Threads inside one operator; results are bitwise repeatable only at the same count. */
  readonly threads: number;
}

/** The processor's cores as ONNX Runtime should use them. */
export function defaultThreads(): number {
  return availableParallelism();
}

/** @throws FloodgateError `usage` for a name that is no device. */
export function parseDevice(name: string): Device {
  const device = DEVICES.find((known) => known === name);
  if (device === undefined) {
    throw new FloodgateError('usage', `--device: got ${name}, expected one of ${DEVICES.join(', ')}`);
  }
  return device;
}

/** Provider list for a device; the CPU stands behind it for the ops that it lacks. */
export function executionProviders(device: Device): string[] {
  return device === 'cpu' ? ['cpu'] : [device, 'cpu'];
}
