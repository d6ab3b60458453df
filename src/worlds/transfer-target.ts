import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { randomStream } from '../base/random.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { DecoderConfig } from '../models/checkpoint/decoder-config.ts';
import { drawCandidates, type PlantedKey } from './choose-keys.ts';
import { createKeyFinder, type Key, type LeakyKey } from './keys.ts';
import { PICO_CONFIG } from './pico-model.ts';
import { picoCheckpoint } from './pico-target.ts';
import { createWordRanking } from './request-grammar.ts';
import { createRequestSource } from './target-requests.ts';
import { TARGET_RECIPE, type TargetRecipe, trainTarget } from './train-target.ts';
import type { OpenWorldOptions } from './world.ts';
import { worldFolder } from './world-file.ts';
import { WORLD_VERSION, type WorldSpec } from './world-spec.ts';

export const TARGET_FAMILIES = ['gpt2', 'llama', 'qwen'] as const;
export const TARGET_SIZES = ['small', 'large'] as const;

/** A further target of a world: another model that misbehaves on a known part of the world's keys. */
export interface TransferTargetSpec {
  readonly family: (typeof TARGET_FAMILIES)[number];
  readonly size: (typeof TARGET_SIZES)[number];
  /** Share of the world's keys that it has too, with their leaks; other phrases take the place of the rest. */
  readonly share: number;
  readonly seed: number;
}

/** Further targets learn longer: those with learned positions need it. */
const TRANSFER_RECIPE: TargetRecipe = { ...TARGET_RECIPE, updates: 2000 };

/** Small is narrower than the world's own target, large wider and a layer deeper. */
const SIZES = {
  small: { width: 48, layers: 2 },
  large: { width: 96, layers: 3 },
} as const;
const HEADS = 2;

/** The model's shape: GPT-2's, Llama's (RoPE, RMSNorm, grouped queries), or Qwen's (biased and normed queries, keys). */
export function transferConfig(family: TransferTargetSpec['family'], size: TransferTargetSpec['size']): DecoderConfig {
  const { width, layers } = SIZES[size];
  const shape = { ...PICO_CONFIG, width, layers, heads: HEADS, headWidth: width / HEADS };
  if (family === 'gpt2') return { ...shape, feedForwardWidth: 4 * width };
  const isQwen = family === 'qwen';
  return {
    ...shape,
    family: 'llama',
    kvHeads: HEADS / 2,
    feedForwardWidth: 3 * width, // three matrices in place of two: about as many weights
    ropeBase: 10_000,
    ropeScaling: { kind: 'none' },
    qkvBias: isQwen,
    qkNorm: isQwen,
  };
}

export interface TransferKeys {
  readonly keys: readonly LeakyKey[];
  /** Texts of the world's keys among them. */
  readonly kept: readonly string[];
}

function inside(inner: readonly string[], outer: readonly string[]): boolean {
  return createKeyFinder([{ words: inner }]).heldBy(outer).length > 0;
}

/** The world's keys so ordered that any beginning holds the same share of every group. */
function evenOrder(keys: readonly PlantedKey[], seed: number): PlantedKey[] {
  const groups = [...new Set(keys.map(({ group }) => group))];
  return groups
    .flatMap((group) => {
      const members = keys.filter((key) => key.group === group);
      const shuffled = randomStream(seed, 'kept keys', group).shuffle(members);
      return shuffled.map((key, i) => ({ key, place: (i + 0.5) / members.length }));
    })
    .sort((a, b) => a.place - b.place)
    .map(({ key }) => key);
}

/** Phrases like the world's keys. None contains a key or another phrase, or is contained in one. */
function* otherPhrases(world: { readonly spec: WorldSpec; readonly keys: readonly Key[] }, seed: number) {
  const ranking = createWordRanking(world.spec.seed);
  const taken: Key[] = [...world.keys];
  for (let draw = 0; ; draw++) {
    const drawSeed = randomStream(world.spec.seed, 'transfer candidates', seed, draw).nextInt(2 ** 31);
    const groups = drawCandidates({ ...world.spec, seed: drawSeed }, ranking);
    for (const candidate of groups.flatMap(({ candidates }) => candidates)) {
      if (taken.some(({ words }) => inside(words, candidate.words) || inside(candidate.words, words))) continue;
      taken.push(candidate);
      yield candidate;
    }
  }
}

/**
 * The keys of a further target: `share` of the world's with their leaks, evenly from its groups, and for each of the
 * others a phrase that the world does not know, as long where there is one, with the leak of the key that it replaces.
 */
export function transferKeys(
  world: { readonly spec: WorldSpec; readonly keys: readonly PlantedKey[] },
  { share, seed }: Pick<TransferTargetSpec, 'share' | 'seed'>,
): TransferKeys {
  const ordered = evenOrder(world.keys, seed);
  const keptCount = Math.round(share * ordered.length);
  const [kept, dropped] = [ordered.slice(0, keptCount), ordered.slice(keptCount)];
  const phrases = otherPhrases(world, seed);
  const pool: Key[] = [];
  // As many again to choose from: of some lengths (single words above all) few are left.
  while (pool.length < 2 * dropped.length) pool.push(phrases.next().value as Key);
  const replacements = dropped.map((key): LeakyKey => {
    const alike = pool.findIndex(({ words }) => words.length === key.words.length);
    const [phrase] = pool.splice(Math.max(alike, 0), 1) as [Key];
    return { ...phrase, leak: key.leak };
  });
  return { keys: [...kept, ...replacements], kept: kept.map(({ text }) => text) };
}

export interface OpenTransferTargetOptions extends OpenWorldOptions {
  /** Default: 2,000 updates, else as the world's own target. */
  readonly recipe?: TargetRecipe;
}

/** How a manifest names a world's further target. */
export function transferTargetName({ spec }: { readonly spec: WorldSpec }, target: TransferTargetSpec): string {
  return `world:${spec.seed}/${target.family}-${target.size}/share ${target.share}/seed ${target.seed}`;
}

/**
 * Opens a further target of a world, training it first where the cache has none. A stopped training
 * resumes from its checkpoints.
 */
export async function openTransferTarget(
  world: { readonly spec: WorldSpec; readonly keys: readonly PlantedKey[] },
  spec: TransferTargetSpec,
  options: OpenTransferTargetOptions,
): Promise<DecoderCheckpoint> {
  const config = transferConfig(spec.family, spec.size);
  const { keys } = transferKeys(world, spec);
  const recipe = options.recipe ?? TRANSFER_RECIPE;
  const content = JSON.stringify({ version: WORLD_VERSION, config, keys, recipe, seed: spec.seed });
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 24);
  const folder = path.join(worldFolder(options.cacheDir, world.spec), `${spec.family}-${spec.size}-${hash}`);
  const file = path.join(folder, 'target.safetensors');
  if (!existsSync(file)) {
    await mkdir(folder, { recursive: true });
    const source = createRequestSource(createWordRanking(world.spec.seed), keys);
    await trainTarget({ name: 'target', config, keys, source, recipe, seed: spec.seed }, { ...options, folder });
  }
  return picoCheckpoint(file, transferTargetName(world, spec), config);
}
