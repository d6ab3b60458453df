import { z } from 'zod';
import { standardErrorOf } from '../../src/metrics/intervals.ts';
import type { StoreQueries } from '../../src/runs/store/queries.ts';
import type { MetricRecord } from '../../src/runs/store/records.ts';
import { causesStage, evaluationStage, transferStage } from '../../src/runs/store/stage-name.ts';
import { ATTACKERS, type AttackerName } from '../attackers.ts';

const share = z.number().min(0).max(1);
const count = z.number().nonnegative();
/** Standard error of a figure, from the draw of its attacks alone; one that is absent counts as 0. */
const error = z.number().nonnegative().optional();
const byAttacker = <T extends z.ZodType>(figures: T) => z.partialRecord(z.enum(ATTACKERS), figures);

/** The figures of stored attacks on a further target. */
const cellFigures = z.strictObject({
  asr: share,
  wordings: count,
  errors: z.strictObject({ asr: error, wordings: error }).optional(),
});
export type CellFigures = Readonly<z.infer<typeof cellFigures>>;

/** The figures of one attacker on the target that it was trained against. */
const attackerFigures = z.strictObject({
  asr: share,
  /** In a synthetic world the share of the planted keys that fresh samples find; on a real model causes. */
  ways: count,
  /** Greedy clusters of the successes. */
  wordings: count,
  /** Louvain communities of the same successes. */
  communities: count.optional(),
  /** Causes of the successes. */
  causes: count.optional(),
  cosineDistance: z.number().optional(),
  /** ASR with the attack's own words masked from the responses; what is left of it is no echo. */
  maskedAsr: share.optional(),
  targetCalls: count,
  /**
   * Target calls after which training had found its 1st, 2nd, ... way: a planted key in a synthetic world, a wording on
   * a real model. Absent where the attacks that it tried are not stored.
   */
  foundAt: z.array(z.int().positive()).optional(),
  errors: z.strictObject({ asr: error, wordings: error, ways: error }).optional(),
});
export type AttackerFigures = Readonly<z.infer<typeof attackerFigures>>;
export type ByAttacker<T> = Readonly<Partial<Record<AttackerName, T>>>;

/** A target tuned on one attacker's data, as it meets every attacker's stored attacks. */
const tunedFigures = z.strictObject({
  asr: byAttacker(share),
  /** Share of harmless prompts that it refuses; absent where refusals cannot be told from answers. */
  overRefusal: share.optional(),
  errors: z.strictObject({ asr: byAttacker(z.number().nonnegative()), overRefusal: error }).optional(),
});
export type TunedFigures = Readonly<z.infer<typeof tunedFigures>>;

export const seedResultSchema = z.strictObject({
  seed: z.int().nonnegative(),
  /** Ours and the baselines. */
  attackers: byAttacker(attackerFigures),
  /** Ours as the reference code's loop trains them. */
  reference: byAttacker(attackerFigures).optional(),
  /** Ours by the settings before. */
  today: byAttacker(attackerFigures).optional(),
  /** The weighting that `smoothing` itself has, where no second attacker was trained with it. */
  ownWeights: z.enum(ATTACKERS).optional(),
  /** Attackers retrained against a target that was tuned on the first smoothing's attacks. */
  retrained: byAttacker(attackerFigures).optional(),
  /** Further targets by name, each with what the stored attacks reach there. */
  transfer: z.record(z.string(), byAttacker(cellFigures)).optional(),
  /** Tuned targets by the attacker whose data they were tuned on. */
  tuned: byAttacker(tunedFigures).optional(),
});
/** Everything that the claims ask of one seed; parts that were not measured are absent. */
export type SeedResult = Readonly<z.infer<typeof seedResultSchema>>;

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
    const errors = { asr: intervalError(asr), wordings: intervalError(unique) };
    cells[attacker] = { asr: asr.value, wordings: unique.value, errors };
  }
  return cells;
}

/** The figures of an evaluated attacker by the judge that counts; undefined for one that was not evaluated. */
export function readFigures(store: StoreQueries, name: AttackerName, judge: string): AttackerFigures | undefined {
  const metrics = store.metrics(evaluationStage(name));
  const rowOf = (metric: string) =>
    metrics.findLast((row) => row.name === metric && (row.judge === undefined || row.judge === judge));
  const figureOf = (metric: string): number | undefined => rowOf(metric)?.value ?? undefined;
  const [asr, wordings] = [figureOf('asr'), figureOf('uniqueAttacks')];
  if (asr === undefined || wordings === undefined) return undefined;
  const searched = store.metrics(causesStage(name), 'ways').at(-1);
  const causes = asr === 0 ? 0 : (searched?.value ?? undefined);
  const recall = rowOf('modeRecall');
  const ways = recall ?? searched;
  return {
    asr,
    wordings,
    ways: recall?.value ?? causes ?? wordings,
    causes,
    cosineDistance: figureOf('cosineDistance'),
    maskedAsr: figureOf('asrMasked'),
    targetCalls: figureOf('attackerTargetCalls') ?? 0,
    errors: {
      asr: intervalError(rowOf('asr')),
      wordings: intervalError(rowOf('uniqueAttacks')),
      ways: intervalError(ways ?? rowOf('uniqueAttacks')),
    },
  };
}
