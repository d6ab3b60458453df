/**
 * The registry of judge kinds and the schemas over it. Kinds that hold other judges import this file; registry.ts,
 * which fills the registry, imports those kinds.
 */
import { z } from 'zod';
import { createRegistry } from '../base/registry.ts';
import type { JudgeConfig, JudgeKind } from './judge.ts';

/** Every kind of judge that a config may name. */
export const judgeKinds = createRegistry<JudgeKind>('judge', []);

let built: { readonly version: number; readonly union: z.ZodType<JudgeConfig> } | undefined;

/** The union over the kinds registered now, discriminated on `kind`; the same object until a kind is added. */
export function judgeSchema(): z.ZodType<JudgeConfig> {
  const { version } = judgeKinds;
  if (built?.version !== version) {
    const options = judgeKinds.all().map(({ schema }) => schema) as unknown as [z.core.$ZodTypeDiscriminable];
    // zod cannot infer the union of a list; every kind's schema has the literal `kind`.
    const union = z.discriminatedUnion('kind', options) as unknown as z.ZodType<JudgeConfig>;
    built = { version, union };
  }
  return built.union;
}

/** `judgeSchema()` as part of another schema: it accepts kinds that are added after that schema was built. */
export function anyJudge(description?: string): z.ZodType<JudgeConfig> {
  const lazy = z.lazy(judgeSchema);
  const schema = description === undefined ? lazy : lazy.describe(description);
  // zod resolves a lazy schema once and keeps the result; this one must see later kinds.
  Object.defineProperty(schema._zod, 'innerType', { get: judgeSchema, configurable: true });
  return schema;
}
