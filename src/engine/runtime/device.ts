import { availableParallelism } from 'node:os';
import { CPU_DIALECT, type OnnxDialect } from '../onnx/onnx-dialect.ts';

/** Execution providers that ONNX Runtime's Node package can be asked for. */
export const DEVICES = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;
export type Device = (typeof DEVICES)[number];

export interface ComputeOptions {
  readonly device: Device;
  /** Threads inside one operator; results are bitwise repeatable only at the same count. */
  readonly threads: number;
  /**
   * Whether weights are repacked for matmul: a second copy in memory, and faster for few rows. Default true. Training
   * turns it off: its matmuls are tall, and each weight would be packed twice, for forward and backward. Results with and
   * without differ by rounding.
   */
  readonly prepack?: boolean;
  /** Computes in a thread of its own, so that this one is free for its calls; feeds and outputs are copied. */
  readonly ownThread?: boolean;
  /**
   * Begin of the path of a profile, which the runtime writes when the session is closed: a JSON list that names the
   * provider of every node that ran.
   */
  readonly profilePrefix?: string;
}

/** The processor's cores as ONNX Runtime should use them. */
export function defaultThreads(): number {
  return availableParallelism();
}

/** Provider list for a device; the CPU runs the ops that the device lacks. */
export function executionProviders(device: Device): string[] {
  return device === 'cpu' ? ['cpu'] : [device, 'cpu'];
}

/**
 * Whether the device's kernels are known to take tensors without elements. WebGPU's softmax and matmul end the process
 * on one (ONNX Runtime 1.30). Of the others only the CPU's are tested.
 */
export function takesEmptyTensors(device: Device): boolean {
  return device === 'cpu';
}

/**
 * The nodes that a graph for the device may have. WebGPU's SimplifiedLayerNormalization writes the mean in place of the
 * inverse root mean square (ONNX Runtime 1.30), and it leaves FusedMatMul and LogSoftmax to the CPU.
 */
export function dialectOf(device: Device): OnnxDialect {
  if (device === 'webgpu') return { hasInverseRms: false, hasFusedMatmul: false, hasLogSoftmax: false };
  return device === 'cpu' ? CPU_DIALECT : { ...CPU_DIALECT, hasInverseRms: false }; // tested nowhere: the safe one
}

/** The needs of each device beside the npm package. */
export const DEVICE_REMEDIES: Readonly<Record<Exclude<Device, 'cpu'>, string>> = {
  webgpu:
    'webgpu needs a graphics driver: for Vulkan on Linux x64, with its loader (apt-get install -y libvulkan1); ' +
    'Windows and macOS bring theirs',
  cuda:
    'cuda needs Linux x64, CUDA 12, cuDNN 9 and libraries that the install script of onnxruntime-node fetches: ' +
    'node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install',
  dml: 'dml (DirectML) is in the package for Windows alone',
  coreml: 'coreml is in the package for macOS alone',
};
