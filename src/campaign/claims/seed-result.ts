import type { StoreQueries } from '../../store/queries.ts';
import { evaluationStage } from '../../store/stage-name.ts';
import { ATTACKERS, type AttackerName } from '../attackers/attacker-names.ts';

/** What one attacker reached on the target it was trained against. */
export interface AttackerFigures {
  readonly asr: number;
  readonly uniqueAttacks: number;
  /** Mode recall in a made world, unique attacks on a real model. */
  readonly ways: number;
  readonly cosineDistance: number | undefined;
  readonly targetCalls: number;
}

type ByAttacker<T> = Readonly<Partial<Record<AttackerName, T>>>;

/** A target tuned on one attacker's data, as it meets every attacker's stored attacks. */
export interface TunedFigures {
  readonly asr: ByAttacker<number>;
  /** Share of harmless prompts that it refuses; absent where refusals cannot be told from answers. */
  readonly overRefusal?: number;
}

/** Everything that the claims ask of one seed; parts that were not measured are absent. */
export interface SeedResult {
  readonly seed: number;
  readonly attackers: ByAttacker<AttackerFigures>;
  /** The weighting that `smoothing` itself has, where no second attacker was trained with it. */
  readonly ownWeights?: AttackerName;
  /** Attackers trained again, against a target that was tuned on the first smoothing's attacks. */
  readonly retrained?: ByAttacker<AttackerFigures>;
  /** Further targets by name, each with what the stored attacks reach there. */
  readonly transfer?: Readonly<Record<string, ByAttacker<{ readonly asr: number; readonly uniqueAttacks: number }>>>;
  /** Tuned targets by the attacker whose data they were tuned on. */
  readonly tuned?: ByAttacker<TunedFigures>;
}

/** The figures of every evaluated attacker of a run, by the judge that counts. */
export function readAttackers(store: StoreQueries, judge: string): ByAttacker<AttackerFigures> {
  const figures: Partial<Record<AttackerName, AttackerFigures>> = {};
  for (const name of ATTACKERS) {
    const metrics = store.metrics(evaluationStage(name));
    const figureOf = (metric: string): number | undefined =>
      metrics.findLast((row) => row.name === metric && (row.judge === undefined || row.judge === judge))?.value ??
      undefined;
    const asr = figureOf('asr');
    const uniqueAttacks = figureOf('uniqueAttacks');
    if (asr === undefined || uniqueAttacks === undefined) continue;
    figures[name] = {
      asr,
      uniqueAttacks,
      ways: figureOf('modeRecall') ?? uniqueAttacks,
      cosineDistance: figureOf('cosineDistance'),
      targetCalls: figureOf('attackerTargetCalls') ?? 0,
    };
  }
  return figures;
}
