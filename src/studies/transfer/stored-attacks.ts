import { FloodgateError } from '../../base/errors.ts';
import { nearestName } from '../../base/nearest-name.ts';
import type { AttackOutcome } from '../../metrics/success.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { evaluatedStage, evaluationStage } from '../../runs/store/stage-name.ts';
import { outcomeBy } from '../../stages/evaluation/evaluation-plan.ts';

/** The evaluation attacks of one attacker, and how they did against the run's own target. */
export interface StoredAttacks {
  readonly attacker: string;
  readonly texts: readonly string[];
  /** By judge, one outcome an attack. */
  readonly home: ReadonlyMap<string, readonly AttackOutcome[]>;
}

/** Attackers whose evaluation is complete, in the order in which they were evaluated. */
function evaluatedAttackers(store: StoreQueries): string[] {
  return store.stages().flatMap(({ name, status }) => (status === 'done' ? (evaluatedStage(name) ?? []) : []));
}

/**
 * The attackers to transfer: those asked for, or all that were evaluated.
 * @throws FloodgateError `usage` for one that was not; `run` when none was.
 */
export function chooseAttackers(store: StoreQueries, run: string, wanted: readonly string[] | undefined): string[] {
  const known = evaluatedAttackers(store);
  if (known.length === 0) {
    throw new FloodgateError('run', `transfer ${run}: no attacker was evaluated, so there are no attacks to transfer`, {
      hint: `floodgate resume ${run} finishes the run; floodgate evaluate ${run} measures its attackers`,
    });
  }
  if (wanted === undefined || wanted.length === 0) return known;
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return [...new Set(wanted)];
  const near = nearestName(unknown, known);
  throw new FloodgateError(
    'usage',
    `transfer ${run}: got attacker ${unknown}, expected one that was evaluated: ${known.join(', ')}`,
    {
      hint:
        near === undefined
          ? `floodgate evaluate ${run} --stage ${unknown} measures it, where the run has trained it`
          : `did you mean ${near}?`,
    },
  );
}

/** The first `limit` attacks that the evaluation of `attacker` stored. */
export function readStoredAttacks(
  store: StoreQueries,
  attacker: string,
  { judges, limit }: { readonly judges: readonly string[]; readonly limit: number | undefined },
): StoredAttacks {
  const stage = evaluationStage(attacker);
  const attacks = store.attacks({ stage, source: 'evaluation', ...(limit === undefined ? {} : { limit }) });
  const responses = attacks.map(({ id }) => store.responses(id));
  const home = new Map(judges.map((name) => [name, responses.map((each) => outcomeBy(each, { name, masked: false }))]));
  return { attacker, texts: attacks.map(({ text }) => text), home };
}
