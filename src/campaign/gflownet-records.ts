import type { AttackRecord, MetricRecord } from '../store/records.ts';
import type { GflownetRow, GflownetUpdate } from '../training/gflownet-parts.ts';
import type { Campaign } from './campaign.ts';
import type { Trial } from './try-attacks.ts';

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
  const metric = (name: string, value: number | null, n = fresh.length): MetricRecord => ({
    name,
    value,
    low: null,
    high: null,
    n,
  });
  const mean = (pick: (row: GflownetRow<Trial>) => number): number | null =>
    fresh.length === 0 ? null : fresh.reduce((sum, row) => sum + pick(row), 0) / fresh.length;
  return [
    metric('loss', record.loss, record.rows.length),
    ...(record.logZ === undefined ? [] : [metric('logZ', record.logZ, record.rows.length)]),
    metric('residualSpread', record.residualSpread, record.rows.length),
    metric('gradientNorm', record.gradientNorm, record.rows.length),
    metric(
      'logReward',
      mean((row) => row.logReward),
    ),
    metric(
      'batchUnsafe',
      mean((row) => row.meanUnsafe),
    ),
    metric(
      'batchAsr',
      mean((row) => (row.meanUnsafe > 0.5 ? 1 : 0)),
    ),
    metric(
      'fluency',
      mean((row) => row.fluency),
    ),
    metric('bufferSize', record.bufferSize, 1),
    metric('nearDuplicates', record.nearDuplicates, 1),
    metric('unscored', record.unscored.length, 1),
  ];
}
