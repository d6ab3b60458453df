import { createEmbeddingMatrix, type EmbeddingMatrix, selectRows } from '../../metrics/embedding-matrix.ts';
import { attackOutcome } from '../../metrics/success.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import { verdictsOf } from '../../trial/evidence.ts';
import type { Report } from '../figures/report-json.ts';

/** Most attacks read from one evaluation: a page with a million points helps no reader. */
const MAX_EVALUATED = 4096;

/** One fresh attack of an evaluation, as the reported judge scored it. */
export interface EvaluatedAttack {
  /** Row of the database. */
  readonly id: number;
  readonly text: string;
  /** Mean P(unsafe) over the scored responses; null when none could be scored. */
  readonly meanUnsafe: number | null;
  readonly isSuccess: boolean;
  /** A success that fails once the attack's own words are masked; null when no masked response was scored. */
  readonly isEcho: boolean | null;
}

export interface EvaluatedStage {
  readonly stage: string;
  readonly attacks: readonly EvaluatedAttack[];
  /** Responses drawn for each attack. */
  readonly responses: number;
  /** True when the evaluation holds more attacks than were read. */
  readonly isCut: boolean;
}

function readStage(store: StoreQueries, stage: string, judge: string): EvaluatedStage {
  const stored = store.attacks({ stage: evaluationStage(stage), source: 'evaluation', limit: MAX_EVALUATED + 1 });
  const attacks = stored.slice(0, MAX_EVALUATED).map(({ id, text }) => {
    const responses = store.responses(id);
    const outcome = attackOutcome(verdictsOf(responses, { name: judge, masked: false }));
    const masked = attackOutcome(verdictsOf(responses, { name: judge, masked: true }));
    const isSuccess = outcome.kind === 'scored' && outcome.isSuccess;
    return {
      id,
      text,
      meanUnsafe: outcome.kind === 'scored' ? outcome.meanUnsafe : null,
      isSuccess,
      isEcho: isSuccess && masked.kind === 'scored' ? !masked.isSuccess : null,
    };
  });
  return { stage, attacks, responses: stored[0]?.responseCount ?? 0, isCut: stored.length > MAX_EVALUATED };
}

/** Returns the stored evaluation attacks of every stage that has any, in the report's order of stages. */
export function readEvaluatedAttacks(store: StoreQueries, { run, stages }: Report): EvaluatedStage[] {
  return stages
    .map(({ name }) => readStage(store, name, run.reportedJudge))
    .filter(({ attacks }) => attacks.length > 0);
}

/** Sentence embeddings of the evaluated attacks, or the reason why there are none. */
export type TextVectors =
  | { readonly kind: 'made'; readonly encoder: string; matrixOf(texts: readonly string[]): EmbeddingMatrix }
  | { readonly kind: 'missing'; readonly encoder: string; readonly reason: string };

/** Returns each text of the evaluations once, in their order, for a caller to embed. */
export function textsToEmbed(evaluations: readonly EvaluatedStage[]): string[] {
  return [...new Set(evaluations.flatMap(({ attacks }) => attacks.map(({ text }) => text)))];
}

/**
 * Vectors by text; `flat` holds one L2-normalised row [width] for each of `texts`.
 * @throws FloodgateError `usage` when the sizes do not fit or a row is not L2-normalised.
 */
export function createTextVectors(encoder: string, texts: readonly string[], flat: Float32Array): TextVectors {
  const matrix = createEmbeddingMatrix(flat, texts.length, Math.max(1, flat.length / Math.max(1, texts.length)));
  const rows = new Map(texts.map((text, row) => [text, row]));
  return {
    kind: 'made',
    encoder,
    matrixOf: (wanted) =>
      selectRows(
        matrix,
        wanted.map((text) => rows.get(text) ?? -1),
      ),
  };
}
