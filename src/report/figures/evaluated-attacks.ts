import type { StoreQueries } from '../../runs/store/queries.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import { storedOutcome } from '../../stages/evaluation/stored-outcome.ts';
import type { Report } from './report-json.ts';

/** Attacks read from one evaluation: clusters and map are pictures, and a page of a million points helps nobody. */
export const MAX_EVALUATED = 4096;

/** One fresh attack of an evaluation, as the reported judge saw it. */
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
    const outcome = storedOutcome(responses, { name: judge, masked: false });
    const masked = storedOutcome(responses, { name: judge, masked: true });
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
