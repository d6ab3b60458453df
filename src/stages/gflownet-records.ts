import type { GflownetRow, GflownetUpdate } from '../learning/loops/gflownet-parts.ts';
import type { AttackRecord, MetricRecord } from '../runs/store/records.ts';
import type { Trial } from '../trial/try-attacks.ts';
import type { Campaign } from './campaign/campaign.ts';
import { meanMetric, plainMetric } from './campaign/plain-metric.ts';

/** Every attack of an update, as it is stored: the rows it learnt from, then those that no judge could score. */
export function attackRecords(campaign: Campaign, record: GflownetUpdate<Trial>): AttackRecord[] {
  return [...record.rows.map((row) => toAttackRecord(campaign, row)), ...record.unscored.map(unscoredRecord)];
}

function toAttackRecord(campaign: Campaign, row: GflownetRow<Trial>): AttackRecord {
  return {
    source: row.source,
    ids: campaign.attacker.rowOf(row),
    text: row.text,
    logPi: row.logPi,
    logPRef: row.logPRef ?? null,
    logReward: row.logReward,
    meanUnsafe: row.meanUnsafe,
    responses: row.evidence?.responses ?? [],
  };
}

function unscoredRecord(entry: GflownetUpdate<Trial>['unscored'][number]): AttackRecord {
  return {
    source: 'fresh',
    ids: entry.tokens,
    text: entry.text,
    logPi: null,
    logPRef: null,
    logReward: null,
    meanUnsafe: null,
    responses: entry.evidence.responses,
  };
}

/** An update's numbers, as they are stored. */
export function updateMetrics(record: GflownetUpdate<Trial>): MetricRecord[] {
  // Tempered and replayed rows say nothing of the policy's own distribution.
  const fresh = record.rows.filter(({ source }) => source === 'fresh');
  return [
    plainMetric('loss', record.loss, record.rows.length),
    ...(record.logZ === undefined ? [] : [plainMetric('logZ', record.logZ, record.rows.length)]),
    plainMetric('residualSpread', record.residualSpread, record.rows.length),
    plainMetric('gradientNorm', record.gradientNorm, record.rows.length),
    meanMetric('logReward', fresh, (row) => row.logReward),
    meanMetric('batchUnsafe', fresh, (row) => row.meanUnsafe),
    meanMetric('batchAsr', fresh, (row) => (row.meanUnsafe > 0.5 ? 1 : 0)),
    meanMetric('fluency', fresh, (row) => row.fluency),
    plainMetric('bufferSize', record.bufferSize, 1),
    plainMetric('nearDuplicates', record.nearDuplicates, 1),
    plainMetric('unscored', record.unscored.length, 1),
  ];
}
