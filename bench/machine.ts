import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** Root of the repository, from `bench/.build/bench/`. */
export const ROOT = new URL('../../../', import.meta.url);

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  /** Runnable processes over the last minute, before the bench: above 0.5 the figures are of a busy machine. */
  readonly loadBefore: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${process.platform} ${process.arch} ${release()}`,
    loadBefore: loadavg()[0] ?? 0,
  };
}

function versionIn(path: string | URL): string {
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}

/** Versions of our own side; each peer tells its own. */
export function ownVersions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  return {
    floodgate: versionIn(new URL('package.json', ROOT)),
    node: process.versions.node,
    'onnxruntime-node': versionIn(require.resolve('onnxruntime-node/package.json')),
  };
}
