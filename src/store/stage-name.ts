/** The evaluation of a stage is a stage of its own in the database: `evaluate:gflownet`. */
const EVALUATION_PREFIX = 'evaluate:';

export function evaluationStage(stage: string): string {
  return `${EVALUATION_PREFIX}${stage}`;
}

/** Returns the stage that `name` evaluates, or undefined when `name` is no evaluation. */
export function evaluatedStage(name: string): string | undefined {
  return name.startsWith(EVALUATION_PREFIX) ? name.slice(EVALUATION_PREFIX.length) : undefined;
}
