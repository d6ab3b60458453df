import { availableParallelism } from 'node:os';

/** Execution providers that ONNX Runtime's Node package can be asked for. */
export const DEVICES = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;
export type Device = (typeof DEVICES)[number];

export interface ComputeOptions {
  readonly device: Device;
  /** Threads inside one operator; results are bitwise repeatable only at the same count. */
  readonly threads: number;
  /** Computes in a thread of its own, so that this one is free for its calls; feeds and outputs are copied. */
  readonly ownThread?: boolean;
}

/** The processor's cores as ONNX Runtime should use them. */
export function defaultThreads(): number {
  return availableParallelism();
}

/** Provider list for a device; the CPU runs the ops that the device lacks. */
export function executionProviders(device: Device): string[] {
  return device === 'cpu' ? ['cpu'] : [device, 'cpu'];
}
