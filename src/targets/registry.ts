import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { createRegistry } from '../base/registry.ts';
import { aiSdkKind } from './ai-sdk-kind.ts';
import { commandKind } from './command-kind.ts';
import { httpKind } from './http-kind.ts';
import { localKind } from './local-kind.ts';
import { moduleKind } from './module-kind.ts';
import { openAiKind } from './openai-kind.ts';
import { scriptedKind } from './scripted-target.ts';
import {
  createTargetKind,
  type PlannedTarget,
  type TargetConfig,
  type TargetDefinition,
  type TargetHost,
  type TargetKind,
} from './target-kind.ts';

/** Every kind of target that a config can name. A built-in kind is one file and one entry of this list. */
export const targetKinds = createRegistry<TargetKind>('target kind', [
  localKind,
  openAiKind,
  httpKind,
  aiSdkKind,
  moduleKind,
  commandKind,
  scriptedKind,
]);

/** Adds a kind of target. Call it before a config is read. @throws FloodgateError `usage` when the name is taken. */
export function defineTarget<Fields extends z.ZodRawShape>(
  definition: Parameters<typeof createTargetKind<Fields>>[0],
): TargetKind {
  const kind = createTargetKind(definition);
  targetKinds.add(kind);
  return kind;
}
export type { TargetDefinition };

type Options = [z.ZodObject, ...z.ZodObject[]];

/** The section `target` of a config: a union over every registered kind. */
export function targetSchema(): z.ZodType<TargetConfig> {
  const options = targetKinds.all().map(({ schema }) => schema) as Options;
  const union = z.discriminatedUnion('kind', options as never).describe('the model under test');
  return union as unknown as z.ZodType<TargetConfig>;
}

/** Fields without their defaults, each optional: a variation states only its changes. */
function optionalFields(shape: z.ZodRawShape): z.ZodRawShape {
  return Object.fromEntries(
    Object.entries(shape).map(([key, field]) => {
      let inner = field as z.ZodType;
      while (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) inner = inner.unwrap() as z.ZodType;
      if (inner instanceof z.ZodObject) inner = z.strictObject(optionalFields(inner.shape));
      return [key, inner.optional()];
    }),
  );
}

/** A variation of a run's target: the keys of a kind, all optional but `kind`, beside the caller's own `extra`. */
export function variationSchema(extra: z.ZodRawShape) {
  const options = targetKinds.all().map(({ schema }) => {
    const { kind, ...fields } = schema.shape;
    return z.strictObject({ kind: kind as z.ZodType, ...optionalFields(fields), ...extra });
  }) as unknown as Options;
  return z.discriminatedUnion('kind', options as never);
}

/** The kind of a config. @throws FloodgateError `usage` for one that is not registered. */
export function targetKindOf({ kind }: Pick<TargetConfig, 'kind'>): TargetKind {
  return targetKinds.get(kind);
}

/**
 * Finds what the target needs and checks that it can be asked; opens no session. @throws FloodgateError as its kind
 * states.
 */
export function planTarget(config: TargetConfig, host: TargetHost): Promise<PlannedTarget> {
  return targetKindOf(config).plan(config, host);
}

/** The config of a variation of a run's target. @throws FloodgateError `usage` when the two do not go together. */
export function varyTarget(given: Partial<TargetConfig> & { readonly kind: string }, own: TargetConfig): TargetConfig {
  const { vary, schema } = targetKindOf(given);
  // A kind with `vary` fills in its own defaults: the model chooses an absent template.
  return vary === undefined ? parseWhole(schema, given) : vary(given, own);
}

/** A kind without `vary` takes no keys from the run's own target: each that is required must be given. */
function parseWhole(schema: z.ZodObject, given: object & { readonly kind: string }): TargetConfig {
  const { data, error } = schema.safeParse(given);
  if (data !== undefined) return data as unknown as TargetConfig;
  const problems = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  throw new FloodgateError('usage', `target of kind ${given.kind}: ${problems}`, {
    hint: `name every required key of the kind ${given.kind}`,
  });
}

/** The config with another model; undefined for a target that cannot be tuned. */
export function withTargetModel(
  config: TargetConfig,
  model: string,
  template?: 'chat' | 'plain',
): TargetConfig | undefined {
  return targetKindOf(config).withModel?.(config, model, template);
}

/** Whether the target's model can be tuned, and attacked again afterwards. */
export function isTunable(config: TargetConfig): boolean {
  return targetKindOf(config).withModel !== undefined;
}

/** Whether a call of the target costs nothing but time on this machine. */
export function isFreeTarget(config: TargetConfig): boolean {
  return targetKindOf(config).isFree === true;
}

/** The model that a config names; the kind's name where it names none. */
export function targetModelName(config: TargetConfig): string {
  const [key] = targetKindOf(config).modelKeys;
  const value = key === undefined ? undefined : config[key];
  return typeof value === 'string' ? value : config.kind;
}

/** The config with `map` applied to every key that names a model. */
export function mapTargetModels(config: TargetConfig, map: (model: string) => string): TargetConfig {
  const mapped = targetKindOf(config).modelKeys.flatMap((key) => {
    const value = config[key];
    return typeof value === 'string' ? [[key, map(value)]] : [];
  });
  return { ...config, ...Object.fromEntries(mapped) };
}

/** The config with `map` applied to every value that may be a path: those of models, and those of other files. */
export function mapTargetPaths(config: TargetConfig, map: (value: unknown) => unknown): TargetConfig {
  const { modelKeys, pathKeys = [] } = targetKindOf(config);
  const keys = [...modelKeys, ...pathKeys].filter((key) => config[key] !== undefined);
  return { ...config, ...Object.fromEntries(keys.map((key) => [key, map(config[key])])) };
}

/** The execution provider of a target whose kind has one. */
export function targetDevice({ device }: TargetConfig): string | undefined {
  return typeof device === 'string' ? device : undefined;
}
