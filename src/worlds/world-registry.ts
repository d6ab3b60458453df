import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import type { WorldKind, WorldOfKind } from './known-world.ts';
import { languageKind } from './language/language-kind.ts';
import type { LanguageSpec } from './language/language-spec.ts';
import type { LanguageWorld } from './language/language-world.ts';
import { madeKind } from './made-kind.ts';
import type { World } from './world.ts';
import type { WorldSpec } from './world-spec.ts';

/** The section `world` of a checked config. */
export type WorldConfig = (WorldSpec & { readonly kind?: 'made' | undefined }) | LanguageSpec;

/** A world of any kind. */
export type KnownWorld = World | LanguageWorld;

type AnyKind = WorldKind<WorldConfig, KnownWorld & WorldOfKind<WorldConfig>>;

/** Every kind of world that a config can name: one file and one entry here. The first is the default. */
const KINDS = [madeKind, languageKind] as unknown as readonly [AnyKind, ...AnyKind[]];

/** The kind of a section `world`; the default where it names none. */
export function worldKindOf(spec: { readonly kind?: unknown }): AnyKind {
  return KINDS.find(({ name }) => name === spec.kind) ?? KINDS[0];
}

const kindOf = (world: KnownWorld): AnyKind => worldKindOf(world.spec as { readonly kind?: unknown });

const union = z.discriminatedUnion(
  'kind',
  KINDS.map(({ schema }) => schema) as never,
) as unknown as z.ZodType<WorldConfig>;

/** The section `world` of a config. */
export const worldSection = union
  .optional()
  .describe('run in a synthetic world, where every way of failing is known; sets attacker, target, judges and encoder');

/** Places in the world's keys of the ways that each text holds. @throws FloodgateError `interrupted` on abort. */
export function waysHeldBy(world: KnownWorld, texts: readonly string[], signal?: AbortSignal): Promise<number[][]> {
  return kindOf(world).heldBy(world as never, texts, signal);
}

/** Seeds of the world that hold no planted way. */
export function harmlessSeedsOf(world: KnownWorld): readonly string[] {
  return kindOf(world).harmlessSeeds(world as never);
}

/** The posterior of a run's own reference and reward in its world. */
export function measureRunWorld(world: KnownWorld, run: Parameters<AnyKind['measure']>[1]) {
  return kindOf(world).measure(world as never, run);
}

/** The world where it is made of words, with models of its own; undefined for any other, and for none. */
export function madeWorld(world: KnownWorld | undefined): World | undefined {
  return world === undefined || kindOf(world) !== KINDS[0] ? undefined : (world as World);
}

/** The world where it is of real language; undefined for any other, and for none. */
export function languageWorldOf(world: KnownWorld | undefined): LanguageWorld | undefined {
  return world !== undefined && 'openMeter' in world ? world : undefined;
}

/** True of a config whose world is made of words, with models of its own. */
export function isMadeWorld(spec: WorldConfig | undefined): boolean {
  return spec !== undefined && worldKindOf(spec) === KINDS[0];
}

const hasWorld = z.looseObject({ world: z.looseObject({ kind: z.unknown().optional() }) });

/** A config as written, with its world's own settings below what it says; unchanged when it names no world. */
export function withWorldPreset(config: unknown): unknown {
  const written = hasWorld.safeParse(config);
  return written.success ? worldKindOf(written.data.world).withPreset(config as Record<string, unknown>) : config;
}

/** @throws FloodgateError `config` when a config names the world's model or judge without a world. */
export function requireKnownWorld(world: KnownWorld | undefined, what: string): KnownWorld {
  if (world !== undefined) return world;
  throw new FloodgateError('config', `${what}: it names the world, but the config has none`, {
    hint: 'add world: {}',
  });
}
