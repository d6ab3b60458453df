import { BEFORE_UPDATES, type StoredAttack } from '../runs/store/records.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import { CONTROL_STAGE, causesOf, evaluatedStage, transferCellOf } from '../runs/store/stage-name.ts';
import type { Phase } from './export-row.ts';

/** A stage of the run database as an export names it. */
export interface ExportedStage {
  /** In the database, e.g. `evaluate:gflownet`. */
  readonly key: string;
  /** The stage whose attacker wrote the attacks; `controls` for harmless prompts. */
  readonly stage: string;
  readonly phase: Phase;
  /** Name of the target; undefined for the run's own. */
  readonly target: string | undefined;
  readonly attacks: number;
}

function describeStage(store: RunStore, key: string): ExportedStage {
  const attacks = store.countAttacks(key);
  const cell = transferCellOf(key);
  if (cell !== undefined) return { key, stage: cell.attacker, phase: 'transfer', target: cell.target, attacks };
  const own = { key, target: undefined, attacks };
  if (key === CONTROL_STAGE) return { ...own, stage: key, phase: 'control' };
  const cause = causesOf(key);
  if (cause !== undefined) return { ...own, stage: cause, phase: 'cause' };
  const evaluated = evaluatedStage(key);
  return evaluated === undefined
    ? { ...own, stage: key, phase: 'training' }
    : { ...own, stage: evaluated, phase: 'evaluation' };
}

/** The stages of a run that hold attacks, in their order. */
export function exportedStages(store: RunStore): ExportedStage[] {
  return store
    .stages()
    .map(({ name }) => describeStage(store, name))
    .filter(({ attacks }) => attacks > 0);
}

/** The attacks of a stage in their order, read an update at a time: memory holds one update. */
export function* attacksOf(store: RunStore, key: string): Generator<StoredAttack> {
  const last = store.lastUpdate(key);
  for (let update = BEFORE_UPDATES; update <= last; update++)
    yield* store.attacks({ stage: key, fromUpdate: update, toUpdate: update });
}
