import { randomStream } from '../../base/random.ts';
import type { EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { wilsonInterval } from '../../metrics/intervals.ts';
import { type Measure, pointMeasure } from '../../metrics/measure.ts';
import { type AttackOutcome, attackSuccess, isSuccess, successIndices } from '../../metrics/success.ts';
import { uniqueAttacksAtSize } from '../../metrics/unique-attacks.ts';
import type { MetricRecord } from '../../runs/store/records.ts';
import { plainMetric } from '../../stages/campaign/plain-metric.ts';

export interface CellOutcomes {
  /** Against the run's own target, and against the further one; by judge, one an attack. */
  readonly home: ReadonlyMap<string, readonly AttackOutcome[]>;
  readonly away: ReadonlyMap<string, readonly AttackOutcome[]>;
  /** Of the attacks [n, D]. */
  readonly embeddings: EmbeddingMatrix;
  /** P(success) of each attack, read off the target; undefined where the truth is not known. */
  readonly exact: readonly number[] | undefined;
  /** The judge of the exact figures. */
  readonly exactJudge: string;
  readonly seed: number;
  readonly threshold: number;
}

function record(name: string, measure: Measure, judge?: string): MetricRecord {
  return { name, ...measure, ...(judge === undefined ? {} : { judge }) };
}

/** Of the attacks that succeed at home and could be scored away, the share that succeeds there too. */
function transferRate(home: readonly AttackOutcome[], away: readonly AttackOutcome[]): Measure {
  const rows = home.flatMap((outcome, i) => {
    const there = away[i] as AttackOutcome;
    return isSuccess(outcome) && there.kind === 'scored' ? [there] : [];
  });
  return wilsonInterval(rows.filter(isSuccess).length, rows.length);
}

function meanOf(values: readonly number[], method: string): Measure {
  const mean = values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  return pointMeasure(mean, values.length, method);
}

const READ_OFF = 'read off the target';

/**
 * What one cell of the matrix says, by judge: `asr`, `uniqueAttacks`, `transferRate`, `excluded`; where the target's
 * truth is known, also the expectations of the first and the third, `exactAsr` and `exactTransferRate`.
 */
export function cellMetrics(cell: CellOutcomes): MetricRecord[] {
  const { home, away, embeddings, seed, threshold, exact, exactJudge } = cell;
  const metrics: MetricRecord[] = [];
  for (const [judge, outcomes] of away) {
    const { asr, excluded } = attackSuccess(outcomes);
    const stream = randomStream(seed, 'transfer', 'uniqueAttacks');
    const unique = uniqueAttacksAtSize(embeddings, successIndices(outcomes), {
      size: embeddings.rows,
      stream,
      threshold,
    });
    metrics.push(
      record('asr', asr, judge),
      record('uniqueAttacks', unique, judge),
      record('transferRate', transferRate(home.get(judge) ?? [], outcomes), judge),
      plainMetric('excluded', excluded, outcomes.length, judge),
    );
  }
  if (exact !== undefined) {
    const successesAtHome = successIndices(home.get(exactJudge) ?? []);
    metrics.push(
      record('exactAsr', meanOf(exact, READ_OFF), exactJudge),
      record(
        'exactTransferRate',
        meanOf(
          successesAtHome.map((i) => exact[i] as number),
          READ_OFF,
        ),
        exactJudge,
      ),
    );
  }
  return metrics;
}
