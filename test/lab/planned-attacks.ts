import type { Config } from '../../src/stages/config/config.ts';
import { stages } from '../../src/stages/registry.ts';
import { createPlanContext } from '../../src/stages/stage.ts';

/** Attacks that an attacker puts to the target by this config, those of held-out evaluations among them. */
export function plannedAttacks(config: Config, attacker: string, seeds: number): number {
  return createPlanContext(config, seeds, stages.get).workOf(attacker)?.tried ?? 0;
}
