import { existsSync } from 'node:fs';
import { listSupportedBackends } from 'onnxruntime-node';
import { holdDevice } from '../../lab/devices/compare-devices.ts';
import type { GraphSession } from '../../src/engine/runtime/session.ts';

/** Whether the package of ONNX Runtime has WebGPU for this system: it has none for Linux on Arm. */
export const HAS_WEBGPU = listSupportedBackends().some(({ name }) => name === 'webgpu');

/** SwiftShader of Debian's chromium: a driver for Vulkan that computes on the processor. */
const DRIVER = '/usr/lib/chromium/vk_swiftshader_icd.json';

/**
 * Lets WebGPU of this process run on a software device, the same on every machine. Windows and macOS have drivers of
 * their own. One that VK_DRIVER_FILES names already is kept. scripts/check-prerequisites.mjs checks that there is one.
 * @throws Error where Linux has none, with the command that brings one.
 */
export function chooseSoftwareVulkan(): void {
  if (process.platform !== 'linux' || process.env.VK_DRIVER_FILES !== undefined) return;
  if (!existsSync(DRIVER)) throw new Error('no software driver for Vulkan: apt-get install -y chromium libvulkan1');
  process.env.VK_DRIVER_FILES = DRIVER;
}

/** Chooses the software device and keeps what it compiles from test to test, until the session is closed. */
export function holdWebGpu(): Promise<GraphSession> {
  chooseSoftwareVulkan();
  return holdDevice('webgpu', 1);
}
