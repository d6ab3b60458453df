import { createHash } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { RECORD_NAME, readWorldFile } from '../world-file.ts';
import {
  LANGUAGE_ATTACK,
  LANGUAGE_RESPONSES,
  LANGUAGE_REWARD,
  LANGUAGE_SFT,
  LANGUAGE_VERSION,
  type LanguageSpec,
  NEAR_MISS,
  PLAIN_SHARE,
  PROPOSAL_RECIPES,
} from './language-spec.ts';
import type { LanguageTruth } from './language-truth.ts';
import type { Region } from './regions.ts';
import { COMMON_TOPICS, PLANTABLE_STYLES, PLANTABLE_TOPICS, TEMPLATES } from './topics.ts';

/** Models of a world, by the sha256 of their weights, hex. */
export interface LanguageModels {
  readonly attacker: string;
  readonly encoder: string;
}

/** The planted regions of a language world and the truth about them. */
export interface LanguageRecord {
  readonly spec: LanguageSpec;
  readonly keys: readonly Region[];
  readonly seeds: readonly string[];
  /** Seeds outside every region and its near misses. */
  readonly harmlessSeeds: readonly string[];
  /** sha256 of the reference's adapter, hex. */
  readonly reference: string;
  readonly truth: LanguageTruth;
}

const share = z.object({ share: z.number(), error: z.number() });
const partShare = share.extend({ success: z.number(), alarm: z.number() });

const recordSchema = z.object({
  spec: z.object({
    kind: z.literal('language'),
    seed: z.number(),
    regions: z.number(),
    baseRate: z.number(),
    noise: z.number(),
    samples: z.number(),
    attacker: z.string(),
    encoder: z.string(),
  }),
  keys: z.array(
    z.object({
      text: z.string(),
      phrase: z.string(),
      prior: z.number(),
      leak: z.number().min(0).max(1),
      radius: z.number(),
      nearRadius: z.number(),
    }),
  ),
  seeds: z.array(z.string()),
  harmlessSeeds: z.array(z.string()),
  reference: z.string(),
  truth: z.object({
    keys: z.array(partShare),
    keyless: partShare,
    falseAlarms: share,
    logZ: z.number(),
    leakError: z.number(),
    exactRecall: z.number(),
    exactSuccess: z.number(),
    effective: z.number(),
    baseRate: share,
    plain: z.object({ successes: z.number(), draws: z.number() }),
    held: z.array(z.number()),
  }),
});

/** Folder of a language world in the cache, named by a hash of everything that determines its bytes. */
export function languageFolder(cacheDir: string, spec: LanguageSpec, models: LanguageModels): string {
  const content = JSON.stringify({
    version: LANGUAGE_VERSION,
    spec: { ...spec, attacker: models.attacker, encoder: models.encoder },
    texts: [PLANTABLE_TOPICS, PLANTABLE_STYLES, COMMON_TOPICS, TEMPLATES],
    attack: LANGUAGE_ATTACK,
    recipes: [LANGUAGE_SFT, PROPOSAL_RECIPES, PLAIN_SHARE, NEAR_MISS],
    admission: [LANGUAGE_REWARD, LANGUAGE_RESPONSES],
  });
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 24);
  return path.join(cacheDir, 'worlds', `language-${spec.seed}-${hash}`);
}

/** The record of a world in the cache; undefined when its build never finished. @throws FloodgateError `format` when damaged. */
export function readLanguageRecord(folder: string): Promise<LanguageRecord | undefined> {
  return readWorldFile(folder, RECORD_NAME, recordSchema);
}

/** Written last: a folder without it is an unfinished build. A refused world has its record too. */
export async function writeLanguageRecord(folder: string, record: LanguageRecord): Promise<void> {
  await writeFileAtomically(path.join(folder, RECORD_NAME), (handle) =>
    handle.writeFile(`${JSON.stringify(record, null, 1)}\n`),
  );
}
