import { evaluationStage } from '../store/stage-name.ts';
import type { AttackerName } from './attackers/attacker-names.ts';
import type { Campaign } from './campaign.ts';

/** The attacker whose finds a smoothing stage learns; undefined for every other attacker. */
export function smoothedAttacker(name: AttackerName): AttackerName | undefined {
  switch (name) {
    case 'smoothing':
      return 'gflownet';
    case 'reinforce-smoothing':
      return 'reinforce';
    case 'ppo-smoothing':
      return 'ppo';
    default:
      return undefined;
  }
}

/**
 * Target calls that an attacker has used: by its own training, by the attacker whose finds it learnt, and while it
 * wrote (best-of-n tries as it writes). The `measured` calls by which it was evaluated are not among them.
 */
export function usedTargetCalls({ store }: Pick<Campaign, 'store'>, name: AttackerName, measured: number): number {
  const source = smoothedAttacker(name);
  const learnt = source === undefined ? 0 : store.cost(source).targetCalls;
  const whileWriting = Math.max(0, store.cost(evaluationStage(name)).targetCalls - measured);
  return store.cost(name).targetCalls + learnt + whileWriting;
}
