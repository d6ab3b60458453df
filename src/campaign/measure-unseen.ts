import type { EmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { type Measure, pointMeasure } from '../metrics/measure.ts';
import { type AttackOutcome, successIndices } from '../metrics/success.ts';
import { unseenWays } from '../metrics/unseen-ways.ts';
import type { EventRecord, MetricRecord } from '../store/records.ts';
import type { AttackerName } from './attackers/attacker-names.ts';

/** Metrics of the discovery curve carry their number of target calls behind this. */
export const DISCOVERY_PREFIX = 'discovery:';

const UNSEEN_METRICS = ['missingMass', 'missingMassSpread', 'chao1', 'chao1Spread'] as const;

/** Attackers whose evaluation attacks are not independent draws of one distribution. */
const DEPENDENT: Readonly<Partial<Record<AttackerName, string>>> = {
  icl: 'attacks of one block share their examples',
  exact: 'its attacks are drawn again and again from one weighted pool',
};

/** Why the evaluation attacks are no independent sample at temperature 1; undefined when they are. */
export function dependenceOf(stage: AttackerName, temperature: number): string | undefined {
  if (temperature !== 1) return `attacks were drawn at temperature ${temperature}, expected 1`;
  return DEPENDENT[stage];
}

/** What is measured, and what there is to say about it. */
export interface MeasuredWithEvents {
  readonly metrics: MetricRecord[];
  readonly events: EventRecord[];
}

export interface UnseenSample {
  readonly stage: AttackerName;
  readonly temperature: number;
  readonly seed: number;
  readonly threshold: number;
  readonly embeddings: EmbeddingMatrix;
  /** Of each judge, one outcome an attack. */
  readonly outcomes: ReadonlyMap<string, readonly AttackOutcome[]>;
  /** Target calls behind one attack, those made while drawing it included. */
  readonly targetCallsPerAttack: number;
}

/**
 * How many ways are still unfound, by each judge: missing mass, Chao1 and the discovery curve. Where the sample is not
 * independent the values are null and say why.
 */
export function unseenMetrics(sample: UnseenSample): MeasuredWithEvents {
  const { stage, temperature, seed, threshold, embeddings, outcomes, targetCallsPerAttack } = sample;
  const attacks = embeddings.rows;
  const reason = dependenceOf(stage, temperature);
  if (reason !== undefined) {
    const unknown = pointMeasure(null, attacks, `not estimated: ${reason}`);
    return {
      metrics: [...outcomes.keys()].flatMap((judge) => UNSEEN_METRICS.map((name) => ({ name, judge, ...unknown }))),
      events: [{ level: 'info', code: 'unseen-not-estimated', message: `unseen ways of ${stage}: ${reason}` }],
    };
  }
  const metrics = [...outcomes].flatMap(([judge, each]) => {
    const ways = unseenWays({ embeddings, successes: successIndices(each), attacks }, { seed, threshold });
    const toMetric = (name: string, measure: Measure): MetricRecord => ({ name, judge, ...measure });
    return [
      ...UNSEEN_METRICS.map((name) => toMetric(name, ways[name])),
      ...ways.curve.map(({ attacks: made, clusters }) =>
        toMetric(`${DISCOVERY_PREFIX}${Math.round(made * targetCallsPerAttack)}`, clusters),
      ),
    ];
  });
  return { metrics, events: [] };
}
