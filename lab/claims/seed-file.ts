import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { ATTACKERS, type AttackerName } from '../../src/stages/config/attacker-names.ts';
import { CLAIM_WORLDS, type ClaimWorld } from './claims-configs.ts';
import { type SeedResult, seedResultSchema } from './seed-result.ts';
import { settingsOf } from './seed-settings.ts';

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

/** What the claims measured of one seed, as it stands in a file of its own. */
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
      hint: 'give the seed-N.json files that floodgate claims wrote',
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
