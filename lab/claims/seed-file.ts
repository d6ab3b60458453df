import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { canonicalJson, sha256Of } from '../../src/base/canonical-json.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { askedSha256 } from '../../src/stages/campaign/config-load.ts';
import { ATTACKERS, type AttackerName, attackersToTrain } from '../attackers.ts';
import { CLAIM_WORLDS, type ClaimWorld, claimConfig } from './claims-configs.ts';
import { CLAIM_TARGETS } from './further-targets.ts';
import { type SeedResult, seedResultSchema } from './seed-result.ts';

/** Stops a wrong file from being parsed as a seed's result. */
const MAX_SEED_FILE_BYTES = 1024 * 1024;

const digest = z.string().regex(/^[0-9a-f]{64}$/);

const schema = z
  .strictObject({
    world: z.enum(CLAIM_WORLDS),
    /** See `SeedSettings`. */
    settingsSha256: z.strictObject({
      attackers: z.partialRecord(z.enum(ATTACKERS), digest),
      targets: digest.optional(),
    }),
    result: seedResultSchema,
  })
  .refine(
    ({ settingsSha256, result }) => Object.keys(result.attackers).every((name) => name in settingsSha256.attackers),
    'there must be settings of every attacker that has figures',
  );

/** The claims' measurements of one seed, as its own file holds them. */
export type SeedFile = z.infer<typeof schema>;

/** Where a seed's result is kept, beside its run. */
export function seedFilePath(folder: string, seed: number): string {
  return join(folder, `seed-${seed}.json`);
}

export interface MeasuredSeed {
  readonly world: ClaimWorld;
  /** That were asked for; one with nothing to learn from has no figures. */
  readonly attackers: readonly AttackerName[];
  readonly result: SeedResult;
}

/** Keeps a seed's result in `folder`. Returns the path of its file. */
export async function writeSeedFile(folder: string, { world, attackers, result }: MeasuredSeed): Promise<string> {
  const path = seedFilePath(folder, result.seed);
  const file: SeedFile = { world, settingsSha256: await settingsOf(world, attackers, result), result };
  await writeFileAtomically(path, (handle) => handle.writeFile(`${JSON.stringify(file, null, 1)}\n`));
  return path;
}

/** @throws FloodgateError `format` for a file that is not there, too large, or no seed's result. */
export async function readSeedFile(path: string): Promise<SeedFile> {
  const refuse = (why: string, cause?: unknown) =>
    new FloodgateError('format', `${path}: ${why}`, {
      hint: 'give the seed-N.json files that `npm run lab -- claims` wrote',
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

/** Digests (sha256, hex) of what was asked for but the seed, the same on every machine: results that differ in them are no seeds of one experiment. */
export interface SeedSettings {
  /** Of each attacker that was asked for: its own settings, and all that it shares with the others. */
  readonly attackers: Readonly<Partial<Record<AttackerName, string>>>;
  /** Of further and tuned targets; absent where nothing but the attackers was measured. */
  readonly targets?: string | undefined;
}

/** Sections that one attacker reads, and those that are trained from it; every other section counts for all. */
const OWN_SECTIONS: readonly AttackerName[] = ['icl', 'reinforce', 'ppo'];

async function attackerSha256(world: ClaimWorld, name: AttackerName): Promise<string> {
  const config = await claimConfig({ world, seed: 0 }, [name]);
  const chain = attackersToTrain([name]);
  const strange = OWN_SECTIONS.filter((section) => !chain.includes(section));
  return askedSha256({ ...config, ...Object.fromEntries(strange.map((section) => [section, undefined])) });
}

/** Digests of what this program measures when asked for these attackers, and for the parts that `result` has. */
export async function settingsOf(
  world: ClaimWorld,
  names: readonly AttackerName[],
  result: SeedResult,
): Promise<SeedSettings> {
  const digests = await Promise.all(names.map(async (name) => [name, await attackerSha256(world, name)] as const));
  const attackers = Object.fromEntries(digests);
  const { transfer, retrained, tuned } = result;
  if (transfer === undefined && retrained === undefined && tuned === undefined) return { attackers };
  return { attackers, targets: sha256Of(canonicalJson(CLAIM_TARGETS[world])) };
}
