import { spawnSync } from 'node:child_process';
import { basename } from 'node:path';

/** A program that names graphics devices, and what its output says. */
interface Source {
  readonly command: string;
  readonly args: readonly string[];
  read(output: string): string[];
}

/** A tool may wait for a broken driver without end. */
const TIMEOUT_MS = 20_000;

const linesOf = (output: string): string[] => output.split('\n').map((line) => line.trim());

/** Devices of `vulkaninfo --summary`, each with its driver: blocks of `key = value` that begin at `GPU0:`. */
export function vulkanDevices(output: string): string[] {
  return output
    .split(/^GPU\d+:$/m)
    .slice(1)
    .map((block) => {
      const value = (key: string): string =>
        new RegExp(`^\\s*${key}\\s*=\\s*(.+)$`, 'm').exec(block)?.[1]?.trim() ?? '?';
      return `${value('deviceName')}, driver ${value('driverName')} ${value('driverInfo')}`;
    });
}

const WINDOWS = 'Get-CimInstance Win32_VideoController | ForEach-Object { $_.Name + ", driver " + $_.DriverVersion }';

const SOURCES: readonly Source[] = [
  {
    command: 'nvidia-smi',
    args: ['--query-gpu=name,driver_version', '--format=csv,noheader'],
    read: (output) => linesOf(output).map((line) => line.replace(', ', ', driver ')),
  },
  { command: 'vulkaninfo', args: ['--summary'], read: vulkanDevices },
  {
    command: 'system_profiler',
    args: ['SPDisplaysDataType'],
    read: (output) =>
      linesOf(output).flatMap((line) => /^(?:Chipset Model|Metal Support): (.+)$/.exec(line)?.[1] ?? []),
  },
  { command: 'powershell', args: ['-NoProfile', '-Command', WINDOWS], read: linesOf },
];

function answerOf({ command, args, read }: Source): string[] {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: TIMEOUT_MS });
  return status === 0 ? read(stdout).filter((line) => line !== '') : [];
}

/** Graphics devices and drivers of this machine, as its own tools name them; the Vulkan driver that was chosen by hand. */
export function describeGraphics(environment: NodeJS.ProcessEnv = process.env): string[] {
  const chosen = environment.VK_DRIVER_FILES ?? environment.VK_ICD_FILENAMES;
  const named = [...new Set(SOURCES.flatMap(answerOf))];
  return [...named, ...(chosen === undefined ? [] : [`Vulkan driver file ${basename(chosen)}`])];
}
