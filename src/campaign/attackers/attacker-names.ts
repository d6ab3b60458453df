/**
 * Every attacker that a run can compare, in the order in which they are trained. `smoothing` is the GFlowNet's; `exact`
 * draws from the reward's distribution itself and exists in a world of the proving ground only.
 */
export const ATTACKERS = [
  'icl',
  'sft',
  'gflownet',
  'smoothing',
  'stable-gfn',
  'reinforce',
  'reinforce-smoothing',
  'ppo',
  'ppo-smoothing',
  'best-of-n',
  'exact',
] as const;

export type AttackerName = (typeof ATTACKERS)[number];

/** What must be trained before: the reference, or the attacker whose finds are smoothed. */
const NEEDS: Readonly<Record<AttackerName, readonly AttackerName[]>> = {
  icl: [],
  sft: [],
  gflownet: ['sft'],
  smoothing: ['sft', 'gflownet'],
  'stable-gfn': ['sft'],
  reinforce: ['sft'],
  'reinforce-smoothing': ['sft', 'reinforce'],
  ppo: ['sft'],
  'ppo-smoothing': ['sft', 'ppo'],
  'best-of-n': ['sft'],
  exact: ['sft'],
};

/** The wanted attackers and all that they need, in the order of training. */
export function attackersToTrain(wanted: readonly AttackerName[]): AttackerName[] {
  const all = new Set(wanted.flatMap((name) => [name, ...NEEDS[name]]));
  return ATTACKERS.filter((name) => all.has(name));
}

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
