import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { canonicalJson, sha256Of } from '../canonical-json.ts';
import { CLAIM_WORLDS, type ClaimWorld, claimConfig } from './claims-configs.ts';
import { CLAIM_TARGETS } from './further-targets.ts';
import { type SeedResult, seedResultSchema } from './seed-result.ts';

/** Stops a wrong file from being parsed as a seed's result. */
const MAX_SEED_FILE_BYTES = 1024 * 1024;

const schema = z.strictObject({
  world: z.enum(CLAIM_WORLDS),
  /** Of everything but the seed that was asked for: results that differ in it are no seeds of one experiment. */
  settingsSha256: z.string().regex(/^[0-9a-f]{64}$/),
  result: seedResultSchema,
});

/** What the claims measured of one seed, as it stands in a file of its own. */
export type SeedFile = z.infer<typeof schema>;

/** `attackers`: C1 to C3 on the base target; `all`: C4 to C6 too. */
export type ClaimParts = 'attackers' | 'all';

/** Where a seed's result is kept, beside its run. */
export function seedFilePath(folder: string, seed: number, parts: ClaimParts): string {
  return join(folder, `seed-${seed}-${parts}.json`);
}

/** Digest of a world's settings, the same on every machine. */
async function settingsOf(world: ClaimWorld): Promise<string> {
  const { seeds, ...config } = await claimConfig({ world, seed: 0 });
  const asked = { ...config, seeds: { ...seeds, path: basename(seeds.path) } };
  return sha256Of(canonicalJson([asked, CLAIM_TARGETS[world]]));
}

/** Keeps a seed's result. */
export async function writeSeedFile(path: string, world: ClaimWorld, result: SeedResult): Promise<void> {
  const file: SeedFile = { world, settingsSha256: await settingsOf(world), result };
  await writeFileAtomically(path, (handle) => handle.writeFile(`${JSON.stringify(file, null, 1)}\n`));
}

/** @throws FloodgateError `format` for a file that is not there, too large, or no seed's result. */
export async function readSeedFile(path: string): Promise<SeedFile> {
  const refuse = (why: string, cause?: unknown) =>
    new FloodgateError('format', `${path}: ${why}`, {
      hint: 'give the seed-N-all.json or seed-N-attackers.json files that floodgate claims wrote',
      cause,
    });
  if (!existsSync(path)) throw refuse('there is no such file');
  const { size } = await stat(path);
  if (size > MAX_SEED_FILE_BYTES) throw refuse(`got ${size} bytes, expected at most ${MAX_SEED_FILE_BYTES}`);
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    throw refuse("this is no seed's result", error);
  }
}

/**
 * The seeds of one experiment from files of several folders or machines, by seed.
 *
 * @throws FloodgateError `format` as {@link readSeedFile}; `usage` for files of different worlds or settings, and for a seed that comes twice.
 */
export async function gatherSeedFiles(
  paths: readonly string[],
): Promise<{ readonly world: ClaimWorld; readonly seeds: readonly SeedResult[] }> {
  const files = await Promise.all(paths.map(async (path) => ({ path, ...(await readSeedFile(path)) })));
  const [first, ...others] = files;
  if (first === undefined) throw new FloodgateError('usage', 'claims: got no file, expected at least one --from');
  for (const { path, world, settingsSha256 } of others) {
    if (world === first.world && settingsSha256 === first.settingsSha256) continue;
    const what = world === first.world ? 'other settings' : `the world ${world}`;
    throw new FloodgateError('usage', `${path}: it was measured with ${what}, unlike ${first.path}`, {
      hint: 'decide from seeds that one version of floodgate measured in one world',
    });
  }
  const seeds = files.map(({ result }) => result).sort((a, b) => a.seed - b.seed);
  const twice = seeds.find(({ seed }, at) => seeds[at - 1]?.seed === seed);
  if (twice === undefined) return { world: first.world, seeds };
  throw new FloodgateError('usage', `claims: got seed ${twice.seed} twice, expected each seed in one file`, {
    hint: 'leave one of its files out',
  });
}
