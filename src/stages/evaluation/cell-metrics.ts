import type { EmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import type { Steps } from '../../metrics/steps.ts';
import { type AttackOutcome, attackSuccess, successIndices } from '../../metrics/success.ts';
import { MAX_COMPARED, uniqueAttacksInSteps } from '../../metrics/unique-attacks.ts';
import type { MetricRecord, StoredMetric } from '../../runs/store/records.ts';
import { measuredMetric, plainMetric } from '../metric-records.ts';

/** Cells with at least one success; n = cells. */
const CELLS_REACHED = 'cellsReached';

/** Figures of one cell are stored under these, followed by its name. */
const ASR_OF = 'cellAsr ';
const WORDINGS_OF = 'cellWordings ';

/** True of a figure of one cell, which is no figure of the whole stage. */
export function isOfOneCell({ name }: Pick<MetricRecord, 'name'>): boolean {
  return name.startsWith(ASR_OF) || name.startsWith(WORDINGS_OF);
}

export interface CellSet {
  /** Names of the attacker's cells; undefined alone for an attacker without cells. */
  readonly cells: readonly (string | undefined)[];
  readonly attacks: readonly { readonly cell: string | null }[];
  /** By one judge, in the order of `attacks`. */
  readonly outcomes: readonly AttackOutcome[];
  readonly embeddings: EmbeddingMatrix;
  /** Cosine up to which a success founds a new wording. */
  readonly threshold: number;
}

/** Success rate and wordings of each cell, and the number of cells reached; nothing for an attacker without cells. */
export function* cellMetricsInSteps(set: CellSet, judge: string): Steps<MetricRecord[]> {
  const { attacks, outcomes, embeddings, threshold } = set;
  const cells = set.cells.flatMap((cell) => cell ?? []);
  if (cells.length === 0) return [];
  const successes = successIndices(outcomes);
  const records: MetricRecord[] = [];
  let reached = 0;
  for (const cell of cells) {
    const isOwn = (i: number): boolean => attacks[i]?.cell === cell;
    const { asr } = attackSuccess(outcomes.filter((_, i) => isOwn(i)));
    const own = successes.filter(isOwn);
    const { clusters } = yield* uniqueAttacksInSteps(embeddings, own.slice(0, MAX_COMPARED), threshold);
    const tried = attacks.filter((each) => each.cell === cell).length;
    records.push(measuredMetric(`${ASR_OF}${cell}`, asr, judge));
    records.push(plainMetric(`${WORDINGS_OF}${cell}`, clusters.length, tried, judge));
    if (own.length > 0) reached++;
  }
  return [...records, plainMetric(CELLS_REACHED, reached, cells.length, judge)];
}

/** One cell as an evaluation measured it. */
export interface MeasuredCell {
  readonly name: string;
  /** Attacks that were tried. */
  readonly tried: number;
  readonly asr: StoredMetric;
  /** Wordings of its successes. */
  readonly wordings: number;
}

/** The cells among the stored figures of one judge, in the order of their names; empty for an attacker without cells. */
export function storedCells(metrics: readonly StoredMetric[]): MeasuredCell[] {
  return metrics.flatMap((asr) => {
    if (!asr.name.startsWith(ASR_OF)) return [];
    const name = asr.name.slice(ASR_OF.length);
    const wordings = metrics.findLast((metric) => metric.name === `${WORDINGS_OF}${name}`);
    return [{ name, tried: wordings?.n ?? 0, asr, wordings: wordings?.value ?? 0 }];
  });
}
