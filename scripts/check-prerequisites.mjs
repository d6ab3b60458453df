// Stops before the tests when what they need from outside npm is missing, and names the one command that brings it.
// Plain JavaScript: it runs before anything else, on Node 20, which runs no TypeScript.
import { spawnSync } from 'node:child_process';

const chromium = process.env.FLOODGATE_CHROMIUM || 'chromium';
const redis = process.env.FLOODGATE_REDIS || 'redis-server';

/**
 * Ends with 0 where WebGPU finds a driver, or is not there: Linux x64 needs Vulkan's loader and a driver of its own. The
 * path is that of test/support/software-vulkan.ts.
 */
const VULKAN = `
if (process.platform !== 'linux' || process.arch !== 'x64') process.exit(0);
const driver = process.env.VK_DRIVER_FILES ?? '/usr/lib/chromium/vk_swiftshader_icd.json';
try {
  process.dlopen({ exports: {} }, 'libvulkan.so.1');
} catch (error) {
  // A library that was found is no module of Node's, which is the other error.
  if (/cannot open shared object/.test(error.message)) process.exit(1);
}
process.exit(require('node:fs').existsSync(driver) ? 0 : 1);
`;

const prerequisites = [
  {
    command: chromium,
    args: ['--version'],
    isUnfit: `${chromium} does not run`,
    why: 'the tests look at the report in a real browser (FLOODGATE_CHROMIUM names another one)',
    bring: 'apt-get install -y chromium',
  },
  {
    command: redis,
    args: ['--version'],
    isUnfit: `${redis} does not run`,
    why: 'the tests of workers start a real Redis each (FLOODGATE_REDIS names another one)',
    bring: 'apt-get install -y redis-server',
  },
  {
    command: process.execPath,
    args: ['-e', VULKAN],
    isUnfit: "Vulkan's loader or a driver for it is missing",
    why: 'the tests run WebGPU on a software device, of Debian\'s chromium (VK_DRIVER_FILES names another driver)',
    bring: 'apt-get install -y chromium libvulkan1',
  },
];

for (const { command, args, isUnfit, why, bring } of prerequisites) {
  const answer = spawnSync(command, args, { encoding: 'utf8' });
  if (answer.status === 0) continue;
  const what = answer.error === undefined ? isUnfit : `${command} cannot be started`;
  process.stderr.write(`${what}: ${why}.\nBring it with:  ${bring}\n`);
  process.exitCode = 1;
}
