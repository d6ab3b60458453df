/** The evaluation of a stage is a stage of its own in the database: `evaluate:gflownet`. */
const EVALUATION_PREFIX = 'evaluate:';

export function evaluationStage(stage: string): string {
  return `${EVALUATION_PREFIX}${stage}`;
}

const CAUSES_PREFIX = 'causes:';

/** The search for the causes of a stage's successes, after its evaluation, as a stage of its own: `causes:gflownet`. */
export function causesStage(stage: string): string {
  return `${CAUSES_PREFIX}${stage}`;
}

/** Returns the stage whose causes `name` looks for, or undefined when `name` is no such search. */
export function causesOf(name: string): string | undefined {
  return name.startsWith(CAUSES_PREFIX) ? name.slice(CAUSES_PREFIX.length) : undefined;
}

/** Harmless prompts sent to the target before anything is trained: no attacker's stage. */
export const CONTROL_STAGE = 'controls';

/** True of a stage whose attacks are no attacker's own: harmless prompts, and parts of attacks. */
export function isAside(name: string): boolean {
  return name === CONTROL_STAGE || causesOf(name) !== undefined;
}

/** Stages of further targets begin so. */
export const TRANSFER_PREFIX = 'transfer:';

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
