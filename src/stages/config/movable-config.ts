import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import type { Config } from './config-schema.ts';

function isBelow(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '' && !isAbsolute(way) && !/^\.\.([/\\]|$)/.test(way);
}

/** The folder of runs, and above it the run that the new one is part of, if any: what is moved as a whole. */
function movedTogether(runsFolder: string): string[] {
  const whole = [runsFolder];
  for (let above = runsFolder; dirname(above) !== above; above = dirname(above)) {
    if (existsSync(join(above, 'run.db'))) whole.push(above);
  }
  return whole;
}

/**
 * The config as a run folder keeps it: a target that another run in the same folder of runs has tuned, or the run that this
 * one is part of, is named relative to the run (`../seed-0/tuned/smoothing/model`), so that the whole can be moved.
 */
export function movableConfig(config: Config, runPath: string): Config {
  const { target } = config;
  if (target.kind !== 'local' || !isAbsolute(target.model)) return config;
  const isMoved = movedTogether(dirname(runPath)).some((folder) => isBelow(target.model, folder));
  if (!isMoved) return config;
  return { ...config, target: { ...target, model: relative(runPath, target.model) } };
}
