import { minOf } from '../../base/long-lists.ts';
import type { EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { type Measure, pointMeasure } from '../../metrics/measure.ts';
import { finishSteps, type Steps } from '../../metrics/steps.ts';
import { type AttackOutcome, successIndices } from '../../metrics/success.ts';
import { firstAttacks } from '../../metrics/unique-attacks.ts';
import { MAX_UNSEEN_SUCCESSES, type UnseenWays, unseenWaysInSteps } from '../../metrics/unseen-ways.ts';
import type { EventRecord, MetricRecord } from '../../runs/store/records.ts';
import type { Stage } from '../stage.ts';

/**
 * The discovery curve: one point per update after the evaluation's last batch, with *target calls* for n. Its last
 * point, which reports show, is the number expected at twice the calls.
 */
export const DISCOVERY_METRIC = 'uniqueAttacksExpected';

const UNSEEN_METRICS = ['missingMass', 'missingMassSpread', 'chao1', 'chao1Spread'] as const;

/** Why the evaluation attacks are not an independent sample at temperature 1; undefined when they are. */
export function dependenceOf({ dependence }: Pick<Stage, 'dependence'>, temperature: number): string | undefined {
  return temperature === 1 ? dependence : `attacks were drawn at temperature ${temperature}, expected 1`;
}

/** Metrics, and events to record about them. */
export interface MeasuredWithEvents {
  readonly metrics: MetricRecord[];
  readonly events: EventRecord[];
}

export interface UnseenSample {
  readonly stage: string;
  /** Why the attacks are not independent draws; undefined where they are. */
  readonly dependence: string | undefined;
  readonly seed: number;
  readonly threshold: number;
  readonly embeddings: EmbeddingMatrix;
  /** One outcome per attack, by judge. */
  readonly outcomes: ReadonlyMap<string, readonly AttackOutcome[]>;
  /** Target calls of one attack, those made while drawing it included. */
  readonly targetCallsPerAttack: number;
}

export interface MeasuredUnseen extends MeasuredWithEvents {
  /** Points of the discovery curve in their order, each by every judge. */
  readonly curve: readonly MetricRecord[][];
}

/**
 * How many ways are still unfound, by each judge: missing mass, Chao1 and the discovery curve. Where the sample is not
 * independent the values are null, with the reason.
 */
export function unseenMetrics(sample: UnseenSample): MeasuredUnseen {
  return finishSteps(unseenMetricsInSteps(sample));
}

/** `unseenMetrics`, which may pause. */
export function* unseenMetricsInSteps(sample: UnseenSample): Steps<MeasuredUnseen> {
  const { stage, dependence, seed, threshold, embeddings, outcomes, targetCallsPerAttack } = sample;
  const attacks = embeddings.rows;
  if (dependence !== undefined) {
    const unknown = pointMeasure(null, attacks, `not estimated: ${dependence}`);
    return {
      metrics: [...outcomes.keys()].flatMap((judge) => UNSEEN_METRICS.map((name) => ({ name, judge, ...unknown }))),
      events: [{ level: 'info', code: 'unseen-not-estimated', message: `unseen ways of ${stage}: ${dependence}` }],
      curve: [],
    };
  }
  const measured: { readonly judge: string; readonly ways: UnseenWays }[] = [];
  const { end, note } = commonBeginning([...outcomes.values()], attacks);
  for (const [judge, each] of outcomes) {
    const successes = successIndices(each.slice(0, end));
    const ways = yield* unseenWaysInSteps({ embeddings, successes, attacks: end }, { seed, threshold });
    measured.push({ judge, ways });
  }
  const points = measured[0]?.ways.curve ?? []; // every judge's curve has the same points: they depend on the attacks only
  return {
    metrics: measured.flatMap(({ judge, ways }) =>
      UNSEEN_METRICS.map((name) => ({ name, judge, ...noted(ways[name], note) })),
    ),
    curve: points.map(({ attacks: made }, i) =>
      measured.map(({ judge, ways }): MetricRecord => {
        const clusters = ways.curve[i]?.clusters as Measure;
        return { name: DISCOVERY_METRIC, judge, ...noted(clusters, note), n: Math.round(made * targetCallsPerAttack) };
      }),
    ),
    events: [],
  };
}

const noted = (measure: Measure, note: string): Measure => ({ ...measure, method: `${measure.method}${note}` });

/** The attacks from which every judge's figures are estimated: as many as the judge with most successes allows. */
function commonBeginning(outcomes: readonly (readonly AttackOutcome[])[], attacks: number) {
  const cuts = outcomes.map((each) => firstAttacks(successIndices(each), attacks, MAX_UNSEEN_SUCCESSES));
  const end = minOf([attacks, ...cuts.map((cut) => cut.attacks)]);
  return { end, note: cuts.find((cut) => cut.attacks === end)?.note ?? '' };
}
