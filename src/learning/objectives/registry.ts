import { createRegistry } from '../../base/registry.ts';
import { ctbKind } from './contrastive-balance.ts';
import type { ObjectiveKind } from './objective.ts';
import { tbKind } from './trajectory-balance.ts';
import { vargradKind } from './vargrad.ts';

/** Every objective that `gflownet.objective` can name. A built-in one is one file and one entry of this list. */
export const objectiveKinds = createRegistry<ObjectiveKind>('objective', [
  tbKind as ObjectiveKind,
  vargradKind as ObjectiveKind,
  ctbKind as ObjectiveKind,
]);

/** Adds an objective. Call it before a config is read. @throws FloodgateError `usage` when the name is taken. */
export function defineObjective<Settings>(kind: ObjectiveKind<Settings>): ObjectiveKind<Settings> {
  objectiveKinds.add(kind as ObjectiveKind);
  return kind;
}
