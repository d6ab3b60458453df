import { stagesToTrain } from '../src/stages/registry.ts';

/** The attackers that the experiments compare, in the order of training. Their results are stored by these names. */
export const ATTACKERS = [
  'icl',
  'sft',
  'draws-smoothing',
  'covering-smoothing',
  'gflownet',
  'smoothing',
  'smoothing-uniform',
  'smoothing-balanced',
  'smoothing-reward',
  'stable-gfn',
  'reinforce',
  'reinforce-smoothing',
  'ppo',
  'ppo-smoothing',
  'best-of-n',
  'exact',
] as const;

export type AttackerName = (typeof ATTACKERS)[number];

/** The wanted attackers and all that they need, in the order of training. */
export function attackersToTrain(wanted: readonly AttackerName[]): string[] {
  return stagesToTrain(wanted).map(({ name }) => name);
}
