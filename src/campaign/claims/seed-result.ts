import { standardErrorOf } from '../../metrics/intervals.ts';
import type { StoreQueries } from '../../store/queries.ts';
import type { MetricRecord } from '../../store/records.ts';
import { evaluationStage, transferStage } from '../../store/stage-name.ts';
import { ATTACKERS, type AttackerName } from '../attackers/attacker-names.ts';

/** Standard errors of figures, from the draw of their attacks alone; one that is absent counts as 0. */
type Errors<Figure extends string> = Readonly<Partial<Record<Figure, number>>>;

/** What stored attacks reach on a further target. */
export interface CellFigures {
  readonly asr: number;
  readonly uniqueAttacks: number;
  readonly errors?: Errors<'asr' | 'uniqueAttacks'>;
}

/** What one attacker reached on the target it was trained against. */
export interface AttackerFigures {
  readonly asr: number;
  readonly uniqueAttacks: number;
  /** Mode recall in a made world, unique attacks on a real model. */
  readonly ways: number;
  readonly cosineDistance: number | undefined;
  readonly targetCalls: number;
  readonly errors?: Errors<'asr' | 'uniqueAttacks' | 'ways'>;
}

type ByAttacker<T> = Readonly<Partial<Record<AttackerName, T>>>;

/** A target tuned on one attacker's data, as it meets every attacker's stored attacks. */
export interface TunedFigures {
  readonly asr: ByAttacker<number>;
  /** Share of harmless prompts that it refuses; absent where refusals cannot be told from answers. */
  readonly overRefusal?: number;
  readonly errors?: { readonly asr: Errors<AttackerName>; readonly overRefusal?: number };
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
  readonly transfer?: Readonly<Record<string, ByAttacker<CellFigures>>>;
  /** Tuned targets by the attacker whose data they were tuned on. */
  readonly tuned?: ByAttacker<TunedFigures>;
}

function intervalError(row: MetricRecord | undefined): number {
  return row === undefined ? 0 : standardErrorOf({ ...row, confidence: row.confidence ?? null });
}

/** The filled cells of a transfer target, by the judge that counts; attackers whose cell is not measured are left out. */
export function readCells(
  store: StoreQueries,
  attackers: readonly AttackerName[],
  target: string,
  judge: string,
): Partial<Record<AttackerName, CellFigures>> {
  const cells: Partial<Record<AttackerName, CellFigures>> = {};
  for (const attacker of attackers) {
    const metrics = store.metrics(transferStage({ attacker, target }));
    const rowOf = (name: string) => metrics.findLast((row) => row.name === name && row.judge === judge);
    const [asr, unique] = [rowOf('asr'), rowOf('uniqueAttacks')];
    if (asr?.value == null || unique?.value == null) continue;
    const errors = { asr: intervalError(asr), uniqueAttacks: intervalError(unique) };
    cells[attacker] = { asr: asr.value, uniqueAttacks: unique.value, errors };
  }
  return cells;
}

/** The figures of every evaluated attacker of a run, by the judge that counts. */
export function readAttackers(store: StoreQueries, judge: string): ByAttacker<AttackerFigures> {
  const figures: Partial<Record<AttackerName, AttackerFigures>> = {};
  for (const name of ATTACKERS) {
    const metrics = store.metrics(evaluationStage(name));
    const rowOf = (metric: string) =>
      metrics.findLast((row) => row.name === metric && (row.judge === undefined || row.judge === judge));
    const figureOf = (metric: string): number | undefined => rowOf(metric)?.value ?? undefined;
    const errorOf = (metric: string): number => intervalError(rowOf(metric));
    const asr = figureOf('asr');
    const uniqueAttacks = figureOf('uniqueAttacks');
    if (asr === undefined || uniqueAttacks === undefined) continue;
    const recall = figureOf('modeRecall');
    figures[name] = {
      asr,
      uniqueAttacks,
      ways: recall ?? uniqueAttacks,
      cosineDistance: figureOf('cosineDistance'),
      targetCalls: figureOf('attackerTargetCalls') ?? 0,
      errors: {
        asr: errorOf('asr'),
        uniqueAttacks: errorOf('uniqueAttacks'),
        ways: errorOf(recall === undefined ? 'uniqueAttacks' : 'modeRecall'),
      },
    };
  }
  return figures;
}
