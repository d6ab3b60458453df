import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { parseFields, readJsonFile } from '../models/formats/json-file.ts';
import type { PlantedKey } from './choose-keys.ts';
import { PICO_CONFIG, TARGET_CONFIG } from './pico-model.ts';
import type { WeighedRequest } from './posterior.ts';
import { CORRECTION_RECIPE, TARGET_RECIPE } from './train-target.ts';
import { VOCABULARY } from './vocabulary.ts';
import { SFT_RECIPE, WORLD_RESPONSES, WORLD_REWARD, WORLD_VERSION, type WorldSpec } from './world-spec.ts';
import type { WorldTruth } from './world-truth.ts';

const share = z.object({ share: z.number(), error: z.number() });
const partShare = share.extend({ success: z.number(), alarm: z.number() });

const recordSchema = z.object({
  spec: z.object({ seed: z.number(), keys: z.number(), noise: z.number(), hardness: z.number() }),
  keys: z.array(
    z.object({
      text: z.string(),
      words: z.array(z.string()).min(1),
      group: z.string(),
      prior: z.number(),
      leak: z.number().min(0).max(1),
    }),
  ),
  seeds: z.array(z.string()),
  truth: z.object({
    keys: z.array(partShare),
    keyless: partShare,
    falseAlarms: share,
    logZ: z.number(),
    leakError: z.number(),
    exactRecall: z.number(),
    exactSuccess: z.number(),
  }),
  sha256: z.object({ attacker: z.string(), target: z.string() }),
});

/** The planted keys of a world and the truth about it. */
export interface WorldRecord {
  readonly spec: WorldSpec;
  readonly keys: readonly PlantedKey[];
  readonly seeds: readonly string[];
  readonly truth: WorldTruth;
  /** Of the two models' weight files, hex. */
  readonly sha256: { readonly attacker: string; readonly target: string };
}

/** A record of 96 keys and 1,500 seeds has about 120 kB. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;

/** Folder of a world in the cache, named by a hash of everything that determines its bytes. */
export function worldFolder(cacheDir: string, spec: WorldSpec): string {
  const content = JSON.stringify({
    version: WORLD_VERSION,
    spec,
    words: VOCABULARY,
    models: [PICO_CONFIG, TARGET_CONFIG],
    reference: SFT_RECIPE,
    target: [TARGET_RECIPE, CORRECTION_RECIPE],
    admission: [WORLD_REWARD, WORLD_RESPONSES],
  });
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 24);
  return path.join(cacheDir, 'worlds', `world-${spec.seed}-${hash}`);
}

/** Name of the file that is written last. */
export const RECORD_NAME = 'world.json';

const fileOf = (folder: string): string => path.join(folder, RECORD_NAME);

/** The error of a world whose files differ from those that were written. */
export function damagedWorld(folder: string, reason: string, cause?: unknown): FloodgateError {
  return new FloodgateError('format', `open world: ${reason}`, {
    hint: `remove ${folder}: the next run builds the world again`,
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * A file of a world's folder in the cache; undefined when there is none.
 *
 * @throws FloodgateError `format` when damaged.
 */
export async function readWorldFile<Content>(
  folder: string,
  name: string,
  schema: z.ZodType<Content>,
  maxBytes = MAX_RECORD_BYTES,
): Promise<Content | undefined> {
  const file = path.join(folder, name);
  if (!existsSync(file)) return undefined;
  try {
    return parseFields(schema, await readJsonFile(file, maxBytes), file);
  } catch (cause) {
    throw damagedWorld(folder, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** The record of a world in the cache; undefined when its build never finished. @throws FloodgateError `format` when damaged. */
export function readWorldRecord(folder: string): Promise<WorldRecord | undefined> {
  return readWorldFile(folder, RECORD_NAME, recordSchema);
}

/** Written last: a folder without it is an unfinished build. */
export async function writeWorldRecord(folder: string, record: WorldRecord): Promise<void> {
  await writeFileAtomically(fileOf(folder), (handle) => handle.writeFile(`${JSON.stringify(record, null, 1)}\n`));
}

const POOL_NAME = 'pool.json';

/** A pool of 96 keys has about 7 MB. */
const MAX_POOL_BYTES = 32 * 1024 * 1024;

const poolSchema = z.array(
  z.object({ tokens: z.array(z.number().int().min(0)), terminated: z.boolean(), text: z.string(), mass: z.number() }),
);

/** The requests by which the world's truth was measured. @throws FloodgateError `format` when damaged or missing. */
export async function readWorldPool(folder: string): Promise<readonly WeighedRequest[]> {
  const pool = await readWorldFile(folder, POOL_NAME, poolSchema, MAX_POOL_BYTES);
  if (pool === undefined) throw damagedWorld(folder, `${POOL_NAME} is missing`);
  return pool;
}

/** Keeps the requests by which the world's truth was measured. */
export async function writeWorldPool(folder: string, pool: readonly WeighedRequest[]): Promise<void> {
  await writeFileAtomically(path.join(folder, POOL_NAME), (handle) => handle.writeFile(JSON.stringify(pool)));
}

const REFUSAL_NAME = 'refused.json';

const refusalSchema = z.object({ problems: z.array(z.string()).min(1) });

/** Why a world was refused before it had a target; undefined when it was not. @throws FloodgateError `format` when damaged. */
export async function readRefusal(folder: string): Promise<readonly string[] | undefined> {
  return (await readWorldFile(folder, REFUSAL_NAME, refusalSchema))?.problems;
}

/** Keeps why a world was refused before it had a target. */
export async function writeRefusal(folder: string, problems: readonly string[]): Promise<void> {
  await writeFileAtomically(path.join(folder, REFUSAL_NAME), (handle) =>
    handle.writeFile(`${JSON.stringify({ problems })}\n`),
  );
}
