import { canonicalJson, sha256Of } from '../../base/canonical-json.ts';
import { isWorldSeeds } from './config-load.ts';
import type { Config } from './config-schema.ts';
import { loadSeeds } from './seeds.ts';

/**
 * sha256 (hex) of what a config asks for: the seed file counts by its bytes, not by where it lies, so that the same
 * settings are the same wherever the package or the config stands. `seedsSha256`: of those bytes, where it is known.
 *
 * @throws FloodgateError `config` when the seed file cannot be read.
 */
export async function askedSha256(config: Config, seedsSha256?: string): Promise<string> {
  if (isWorldSeeds(config)) return sha256Of(canonicalJson(config));
  const path = seedsSha256 ?? (await loadSeeds(config.seeds)).sha256;
  return sha256Of(canonicalJson({ ...config, seeds: { ...config.seeds, path } }));
}
