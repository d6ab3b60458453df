import { FloodgateError } from '../../base/errors.ts';
import { maxOf, minOf } from '../../base/long-lists.ts';
import { nearestName } from '../../base/nearest-name.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openStore } from '../../runs/store/run-store.ts';
import { evaluatedStage } from '../../runs/store/stage-name.ts';
import { loadRunConfig } from '../../stages/campaign/config-load.ts';
import type { Config } from '../../stages/config/config.ts';
import { stages } from '../../stages/registry.ts';
import { isTunable } from '../../targets/registry.ts';
import { isMadeWorld } from '../../worlds/world-registry.ts';
import { collectSuccesses } from '../tune/collect-successes.ts';
import { notTunable } from '../tune/tune-subject.ts';
import { TUNABLE_REMEDY, WORLD_TUNING } from './target-versions.ts';

/** A study as its user asks for it; absent lists mean the defaults. */
export interface RobustnessPlan {
  /** Attackers on whose successes a target is tuned. */
  readonly data?: readonly string[];
  /** Attackers whose stored attacks are replayed. */
  readonly attackers?: readonly string[];
  /** Attackers that are retrained against each tuned target; an empty list retrains none. */
  readonly retrain?: readonly string[];
  /** `key=value` over the run's config, for tuning and for retrained attackers. */
  readonly overrides: readonly string[];
}

/** The study that a plan comes to: every part of it is known to be there. */
export interface RobustnessStudy {
  readonly config: Config;
  readonly overrides: readonly string[];
  readonly attackers: readonly string[];
  readonly data: readonly string[];
  readonly retrain: readonly string[];
  /** Most successes that a target is tuned on. */
  readonly successes: number;
  /** Attackers of `data` asked for that have no success. */
  readonly leftOut: readonly { readonly data: string; readonly tried: number }[];
}

/** The targets of the paper's robustness table, as far as a run has them. */
const DEFAULT_DATA: readonly string[] = ['sft', 'reinforce', 'ppo', 'gflownet', 'smoothing'];
const DEFAULT_RETRAIN: readonly string[] = ['smoothing', 'ppo'];

function refuseUnknown(folder: RunFolder, option: string, wanted: readonly string[], known: readonly string[]): void {
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const near = nearestName(unknown, known);
  throw new FloodgateError(
    'usage',
    `robustness ${folder.name}: ${option}: got ${unknown}, expected one that was evaluated: ${known.join(', ')}`,
    {
      hint:
        near === undefined
          ? `floodgate evaluate ${folder.name} --stage ${unknown} measures it, where the run has trained it`
          : `did you mean ${near}?`,
    },
  );
}

interface Counted {
  readonly attacker: string;
  readonly successes: number;
  readonly tried: number;
}

/** Attackers whose evaluation is complete, with the distinct successes that tuning would find. */
async function countSuccesses(folder: RunFolder, config: Config): Promise<Counted[]> {
  const { attacks: from, minUnsafe, limit } = config.tuning;
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const evaluated = store.stages().flatMap(({ name, status }) => (status === 'done' ? evaluatedStage(name) : []));
    return stages
      .names()
      .filter((name) => evaluated.includes(name))
      .map((attacker) => {
        const options = { stage: attacker, from, minUnsafe, limit, judge: '' };
        const { successes, tried } = collectSuccesses(store, options);
        return { attacker, successes: successes.length, tried };
      });
  } finally {
    store.close();
  }
}

/**
 * The successes that every target is tuned on: equally many, so that none resists better for having seen more. The fewest
 * that an attacker has decide; those with less than a batch do not count.
 */
export function equalSuccesses(counts: readonly number[], batchSize: number): number {
  const enough = counts.filter((count) => count >= batchSize);
  return enough.length > 0 ? minOf(enough) : maxOf([1, ...counts]);
}

function retrainList(folder: RunFolder, plan: RobustnessPlan, evaluated: readonly string[]): string[] {
  if (plan.retrain === undefined) return evaluated.filter((name) => DEFAULT_RETRAIN.includes(name));
  refuseUnknown(folder, '--retrain', plan.retrain, evaluated);
  const wanted = evaluated.filter((name) => plan.retrain?.includes(name));
  // Retrained, an attacker that does not learn from its target would write the same attacks.
  const blind = wanted.find((name) => stages.get(name).knowsTarget !== 'learns');
  if (blind === undefined) return wanted;
  throw new FloodgateError(
    'usage',
    `robustness ${folder.name}: --retrain: got ${blind}, which learns nothing from its target`,
    { hint: 'it writes the same attacks against any target: see its replayed attacks' },
  );
}

/** The attackers of `data` that have a success. @throws FloodgateError `run` when none has. */
function fruitfulOf(folder: RunFolder, chosen: readonly Counted[]): Counted[] {
  const fruitful = chosen.filter(({ successes }) => successes > 0);
  if (fruitful.length > 0) return fruitful;
  const tried = chosen.map(({ attacker, tried }) => `${attacker} 0 of ${tried}`).join(', ') || 'none of the usual';
  throw new FloodgateError(
    'run',
    `robustness ${folder.name}: no attacker has a success to tune a target on (${tried}); the run is unchanged`,
    {
      hint: 'a target that refuses everything needs no tuning; --data names other attackers, tuning.minUnsafe the bar',
    },
  );
}

/** @throws FloodgateError `usage` for a target that cannot be tuned. */
async function loadStudyConfig(folder: RunFolder, plan: RobustnessPlan) {
  const written = await loadRunConfig(folder);
  const overrides = [...(isMadeWorld(written.world) ? WORLD_TUNING : []), ...plan.overrides];
  const config = await loadRunConfig(folder, overrides);
  if (!isTunable(config.target)) throw notTunable(`robustness ${folder.name}`, config.target, TUNABLE_REMEDY);
  return { config, overrides };
}

/**
 * The study that a plan comes to in this run, before any work.
 *
 * @throws FloodgateError `run` when no attacker was evaluated, or none has a success to tune on; `usage` for an attacker
 * that was not evaluated, or a target that cannot be tuned.
 */
export async function planRobustness(folder: RunFolder, plan: RobustnessPlan): Promise<RobustnessStudy> {
  const { config, overrides } = await loadStudyConfig(folder, plan);
  const counted = await countSuccesses(folder, config);
  const evaluated = counted.map(({ attacker }) => attacker);
  if (evaluated.length === 0) {
    throw new FloodgateError('run', `robustness ${folder.name}: no attacker was evaluated, so there are no attacks`, {
      hint: `floodgate resume ${folder.name} finishes the run; floodgate evaluate ${folder.name} measures its attackers`,
    });
  }
  refuseUnknown(folder, '--attackers', plan.attackers ?? [], evaluated);
  refuseUnknown(folder, '--data', plan.data ?? [], evaluated);
  const data = plan.data ?? DEFAULT_DATA;
  const chosen = counted.filter(({ attacker }) => data.includes(attacker));
  const fruitful = fruitfulOf(folder, chosen);
  // Those of the defaults count even where --data narrows, so that a later start without it finds the same settings.
  const compared = counted.filter(({ attacker }) => [...DEFAULT_DATA, ...data].includes(attacker));
  const useful = compared.flatMap(({ successes }) => (successes > 0 ? [successes] : []));
  return {
    config,
    overrides,
    attackers: plan.attackers === undefined ? evaluated : evaluated.filter((name) => plan.attackers?.includes(name)),
    data: fruitful.map(({ attacker }) => attacker),
    retrain: retrainList(folder, plan, evaluated),
    successes: equalSuccesses(useful, config.tuning.batchSize),
    leftOut: chosen.flatMap(({ attacker, successes, tried }) => (successes === 0 ? [{ data: attacker, tried }] : [])),
  };
}
