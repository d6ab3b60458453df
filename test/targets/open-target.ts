import { silentProgress } from '../../src/base/progress.ts';
import { planTarget, targetSchema } from '../../src/targets/registry.ts';
import type { OpenTarget, PlannedTarget, TargetHost } from '../../src/targets/target-kind.ts';

/** A host without models: targets of the wire need none. */
export function createTargetHost(signal: AbortSignal = new AbortController().signal): TargetHost {
  const refuse = (): never => {
    throw new Error('a target of the wire opens no model');
  };
  return {
    openDecoder: refuse,
    sourceOf: refuse,
    seed: 5,
    threads: 1,
    progress: silentProgress,
    signal,
    world: undefined,
  };
}

export function planFrom(config: unknown, host = createTargetHost()): Promise<PlannedTarget> {
  return planTarget(targetSchema().parse(config), host);
}

export async function openFrom(config: unknown): Promise<OpenTarget> {
  return (await planFrom(config)).open([]);
}
