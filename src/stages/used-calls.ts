import { evaluationStage } from '../runs/store/stage-name.ts';
import type { Campaign } from './stage.ts';

type Run = Pick<Campaign, 'store' | 'stage'>;

/** Target calls of an attacker's training, those of the attacker whose attacks it learned among them. */
export function trainingTargetCalls({ store, stage }: Run, name: string): number {
  const source = stage(name).smooths;
  return store.cost(name).targetCalls + (source === undefined ? 0 : store.cost(source).targetCalls);
}

/**
 * Target calls that an attacker has used in training and while it wrote (best-of-n tries as it writes). The `measured`
 * calls of its evaluation are not included.
 */
export function usedTargetCalls(run: Run, name: string, measured: number): number {
  const evaluation = run.store.cost(evaluationStage(name)).targetCalls;
  return trainingTargetCalls(run, name) + Math.max(0, evaluation - measured);
}
