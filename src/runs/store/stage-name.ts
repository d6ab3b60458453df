/** The evaluation of a stage is a stage of its own in the database: `evaluate:gflownet`. */
const EVALUATION_PREFIX = 'evaluate:';

export function evaluationStage(stage: string): string {
  return `${EVALUATION_PREFIX}${stage}`;
}

/** Harmless prompts sent to the target before anything is trained: no attacker's stage. */
export const CONTROL_STAGE = 'controls';

const TRANSFER_PREFIX = 'transfer:';

/** One cell of the transfer matrix: an attacker's stored attacks sent to another target. */
export interface TransferCell {
  readonly attacker: string;
  readonly target: string;
}

/** The cell as a stage of its own in the database: `transfer:gflownet:int8`. Neither name holds a colon. */
export function transferStage({ attacker, target }: TransferCell): string {
  return `${TRANSFER_PREFIX}${attacker}:${target}`;
}

/** Returns the cell that `name` fills, or undefined when `name` is no transfer. */
export function transferCellOf(name: string): TransferCell | undefined {
  if (!name.startsWith(TRANSFER_PREFIX)) return undefined;
  const [attacker = '', target = ''] = name.slice(TRANSFER_PREFIX.length).split(':');
  return { attacker, target };
}

/** Returns the stage that `name` evaluates, or undefined when `name` is no evaluation. */
export function evaluatedStage(name: string): string | undefined {
  return name.startsWith(EVALUATION_PREFIX) ? name.slice(EVALUATION_PREFIX.length) : undefined;
}
