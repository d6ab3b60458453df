import { isFreeTarget } from '../../targets/registry.ts';
import { type Config, DEFAULT_CAUSES } from '../config/config.ts';

/** How the causes of an attacker's successes are looked for. */
export interface CausesPlan {
  /** Successes whose cause is looked for; 0: none. */
  readonly clusters: number;
  /** Responses to each part of an attack. */
  readonly responses: number;
  /** Parts of one attack that are tried. */
  readonly asks: number;
}

/** The plan of a config: where calls may cost money, causes are looked for only if it says so. */
export function causesPlan({ evaluation, target }: Config): CausesPlan {
  const { clusters = isFreeTarget(target) ? DEFAULT_CAUSES : 0, responses, asks } = evaluation.causes;
  return { clusters, responses, asks };
}
