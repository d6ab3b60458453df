import { evaluationStage } from '../store/stage-name.ts';
import { type AttackerName, smoothedAttacker } from './attackers/attacker-names.ts';
import type { Campaign } from './campaign.ts';

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
