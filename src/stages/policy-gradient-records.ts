import type { PolicyGradientUpdate } from '../learning/loops/policy-gradient-parts.ts';
import type { AttackRecord, MetricRecord } from '../runs/store/records.ts';
import type { Trial } from '../trial/try-attacks.ts';
import type { Campaign } from './campaign/campaign.ts';
import { meanMetric, plainMetric } from './campaign/plain-metric.ts';

/** Every attack of an update, as it is stored. Its reward is no log R and stands in the update's metrics. */
export function policyGradientAttacks(
  { attacker }: Pick<Campaign, 'attacker'>,
  { rows, unscored }: PolicyGradientUpdate<Trial>,
): AttackRecord[] {
  const scored = rows.map(
    (row): AttackRecord => ({
      source: 'fresh',
      ids: attacker.rowOf(row),
      text: row.text,
      logPi: row.logPi,
      logPRef: row.logPRef,
      logReward: null,
      meanUnsafe: row.meanUnsafe,
      responses: row.evidence.responses,
    }),
  );
  const others = unscored.map(
    ({ text, tokens, evidence }): AttackRecord => ({
      source: 'fresh',
      ids: tokens,
      text,
      logPi: null,
      logPRef: null,
      logReward: null,
      meanUnsafe: null,
      responses: evidence.responses,
    }),
  );
  return [...scored, ...others];
}

/** An update's numbers, as they are stored: the method's own, the mean of each part of the reward, and the batch's success. */
export function policyGradientMetrics({ rows, metrics, unscored }: PolicyGradientUpdate<Trial>): MetricRecord[] {
  const n = rows.length;
  const terms = Object.keys(rows[0]?.terms ?? {});
  return [
    ...Object.entries(metrics).map(([name, value]) => plainMetric(name, n === 0 ? null : value, n)),
    ...terms.map((term) => meanMetric(`reward.${term}`, rows, (row) => row.terms[term] as number)),
    meanMetric('batchUnsafe', rows, (row) => row.meanUnsafe),
    meanMetric('batchAsr', rows, (row) => (row.meanUnsafe > 0.5 ? 1 : 0)),
    meanMetric('fluency', rows, (row) => row.logPRef),
    plainMetric('unscored', unscored.length, 1),
  ];
}
