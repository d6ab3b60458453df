import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { canonicalJson, sha256Of } from '../../base/canonical-json.ts';
import { parseConfigText, readConfigText, resolveDotted } from '../../runs/config/config-file.ts';
import { readManifest } from '../../runs/manifest.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { mapTargetModels, mapTargetPaths } from '../../targets/registry.ts';
import { WORLD } from '../../worlds/world-preset.ts';
import { withWorldPreset } from '../../worlds/world-registry.ts';
import { withCellPrompt } from '../config/cells-section.ts';
import type { Config } from '../config/config.ts';
import { loadConfigSeeds } from '../config/seeds.ts';
import { withTuningPaths } from '../config/tuning-section.ts';
import { checkConfigRules, configSchema, MOVED_KEYS } from './config-schema.ts';

export interface ParseConfigOptions {
  /** For messages. */
  readonly fileName: string;
  /** Folder that relative paths in the config count from. */
  readonly folder: string;
  /** `a.b=value` each; the value is YAML. */
  readonly overrides?: readonly string[];
}

/** True when the seeds are a synthetic world's own, not a file's. */
export function isWorldSeeds({ world, seeds }: Config): boolean {
  return world !== undefined && seeds.path === WORLD;
}

function resolveJudges({ judges }: Config, folder: string): Config['judges'] {
  return resolveDotted(judges, folder) as Config['judges'];
}

function resolvePaths(config: Config, folder: string): Config {
  const { attacker, target, encoder, seeds, tuning, world } = config;
  const dotted = <T>(value: T): T => resolveDotted(value, folder) as T;
  return {
    ...config,
    attacker: {
      ...attacker,
      model: dotted(attacker.model),
      ...(attacker.from === undefined ? {} : { from: dotted(attacker.from) }),
    },
    target: mapTargetPaths(target, dotted),
    encoder: { ...encoder, model: dotted(encoder.model) },
    judges: resolveJudges(config, folder),
    seeds: {
      ...seeds,
      path: isAbsolute(seeds.path) || isWorldSeeds(config) ? seeds.path : resolve(folder, seeds.path),
    },
    tuning: withTuningPaths(tuning, dotted),
    ...(world === undefined ? {} : { world: dotted(world) }),
  };
}

/**
 * Returns the config in `text` with defaults filled in, overrides applied and paths made absolute.
 * @throws FloodgateError `config` naming every problem at once, each with its place; `usage` for a malformed override.
 */
export function parseConfig(text: string, { fileName, folder, overrides = [] }: ParseConfigOptions): Config {
  // Judges are named after their models, and one path may be written in two ways.
  const check = (config: Config) => checkConfigRules({ ...config, judges: resolveJudges(config, folder) });
  const prepare = (written: unknown): unknown => withCellPrompt(withWorldPreset(written));
  const format = { schema: configSchema(), prepare, check, moved: MOVED_KEYS };
  return resolvePaths(parseConfigText({ text, fileName, overrides }, format), folder);
}

/**
 * Returns the resolved config of the YAML file at `path`; relative paths inside count from its folder.
 * @throws FloodgateError `config` when the file cannot be read or anything in it is wrong.
 */
export async function loadConfig(path: string, overrides: readonly string[] = []): Promise<Config> {
  const text = await readConfigText(path);
  return parseConfig(text, { fileName: path, folder: dirname(resolve(path)), overrides });
}

/**
 * Returns the resolved config that a run was made with.
 * @throws FloodgateError `run` for a run of another version; `config` when an override is wrong.
 */
export async function loadRunConfig(
  { configPath, manifestPath }: RunFolder,
  overrides: readonly string[] = [],
): Promise<Config> {
  if (existsSync(manifestPath)) await readManifest(manifestPath); // refuses another version's run
  return loadConfig(configPath, overrides);
}

/** sha256 (hex) of the resolved config, independent of the order of its keys. */
export function configSha256(config: Config): string {
  return sha256Of(canonicalJson(config));
}

/**
 * sha256 (hex) of a config's settings. The seed file counts by its bytes, not by its path, so that the same settings
 * have the same hash on every machine. `seedsSha256`: hash of those bytes, where it is known.
 *
 * @throws FloodgateError `config` when the seed file cannot be read.
 */
export async function askedSha256(config: Config, seedsSha256?: string): Promise<string> {
  if (isWorldSeeds(config)) return configSha256(config);
  const path = seedsSha256 ?? (await loadConfigSeeds(config)).sha256;
  return sha256Of(canonicalJson({ ...config, seeds: { ...config.seeds, path } }));
}

function isBelow(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '' && !isAbsolute(way) && !/^\.\.([/\\]|$)/.test(way);
}

/** The folders that are moved as a whole: the folder of runs, and the enclosing run if there is one. */
function movedTogether(runsFolder: string): string[] {
  const whole = [runsFolder];
  for (let above = runsFolder; dirname(above) !== above; above = dirname(above)) {
    if (existsSync(join(above, 'run.db'))) whole.push(above);
  }
  return whole;
}

/**
 * The config as a run folder stores it. A target that another run in the same folder of runs has tuned, or the
 * enclosing run, gets a path relative to the run (`../seed-0/tuned/smoothing/model`). The whole can then be moved.
 */
export function movableConfig(config: Config, runPath: string): Config {
  const isMoved = (model: string): boolean =>
    isAbsolute(model) && movedTogether(dirname(runPath)).some((folder) => isBelow(model, folder));
  const target = mapTargetModels(config.target, (model) => (isMoved(model) ? relative(runPath, model) : model));
  return { ...config, target };
}
