import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { askedSha256 } from '../asked-config.ts';
import { canonicalJson, sha256Of } from '../canonical-json.ts';
import { CLAIM_WORLDS, type ClaimWorld, claimConfig } from './claims-configs.ts';
import { CLAIM_TARGETS } from './further-targets.ts';
import { type SeedResult, seedResultSchema } from './seed-result.ts';

/** Stops a wrong file from being parsed as a seed's result. */
const MAX_SEED_FILE_BYTES = 1024 * 1024;

const digest = z.string().regex(/^[0-9a-f]{64}$/);

const schema = z.strictObject({
  world: z.enum(CLAIM_WORLDS),
  /** Of what was asked for but the seed: results that differ in it are no seeds of one experiment. */
  settingsSha256: z.strictObject({
    attackers: digest,
    /** Of further and tuned targets; absent where C4 to C6 were not measured. */
    targets: digest.optional(),
  }),
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

/** Digests of what was measured, the same on every machine. */
async function settingsOf(world: ClaimWorld, parts: ClaimParts): Promise<SeedFile['settingsSha256']> {
  const attackers = await askedSha256(await claimConfig({ world, seed: 0 }));
  return parts === 'attackers' ? { attackers } : { attackers, targets: sha256Of(canonicalJson(CLAIM_TARGETS[world])) };
}

export interface MeasuredSeed {
  readonly world: ClaimWorld;
  readonly parts: ClaimParts;
  readonly result: SeedResult;
}

/** Keeps a seed's result in `folder`. Returns the path of its file. */
export async function writeSeedFile(folder: string, { world, parts, result }: MeasuredSeed): Promise<string> {
  const path = seedFilePath(folder, result.seed, parts);
  const file: SeedFile = { world, settingsSha256: await settingsOf(world, parts), result };
  await writeFileAtomically(path, (handle) => handle.writeFile(`${JSON.stringify(file, null, 1)}\n`));
  return path;
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
  const [first] = files;
  if (first === undefined) throw new FloodgateError('usage', 'claims: got no file, expected at least one --from');
  const targets = files.find(({ settingsSha256 }) => settingsSha256.targets !== undefined)?.settingsSha256.targets;
  for (const { path, world, settingsSha256 } of files) {
    const isSame =
      settingsSha256.attackers === first.settingsSha256.attackers && (settingsSha256.targets ?? targets) === targets;
    if (world === first.world && isSame) continue;
    const what = world === first.world ? 'other settings' : `the world ${world}`;
    throw new FloodgateError('usage', `${path}: it was measured with ${what}, unlike the files before it`, {
      hint: 'decide from seeds that were measured in one world with the same settings',
    });
  }
  const seeds = files.map(({ result }) => result).sort((a, b) => a.seed - b.seed);
  const twice = seeds.find(({ seed }, at) => seeds[at - 1]?.seed === seed);
  if (twice === undefined) return { world: first.world, seeds };
  throw new FloodgateError('usage', `claims: got seed ${twice.seed} twice, expected each seed in one file`, {
    hint: 'leave one of its files out',
  });
}
