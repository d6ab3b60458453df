import { evaluationStage } from '../runs/store/stage-name.ts';
import type { Campaign } from './campaign/campaign.ts';
import { type AttackerName, smoothedAttacker } from './config/attacker-names.ts';

/** Target calls by which an attacker was trained, those of the attacker whose finds it learnt among them. */
export function trainingTargetCalls({ store }: Pick<Campaign, 'store'>, name: AttackerName): number {
  const source = smoothedAttacker(name);
  return store.cost(name).targetCalls + (source === undefined ? 0 : store.cost(source).targetCalls);
}

/**
 * Target calls that an attacker has used: by its training, and while it wrote (best-of-n tries as it writes). The
 * `measured` calls by which it was evaluated are not among them.
 */
export function usedTargetCalls(campaign: Pick<Campaign, 'store'>, name: AttackerName, measured: number): number {
  const evaluation = campaign.store.cost(evaluationStage(name)).targetCalls;
  return trainingTargetCalls(campaign, name) + Math.max(0, evaluation - measured);
}
