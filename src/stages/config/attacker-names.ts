/**
 * Every attacker that a run can compare, in the order in which they are trained. `smoothing` is the GFlowNet's,
 * `smoothing-*` the same with other weights; `exact` draws from the reward's distribution itself and exists in a world of the proving ground only.
 */
export const ATTACKERS = [
  'icl',
  'sft',
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

/** What must be trained before: the reference, or the attacker whose finds are smoothed. */
const NEEDS: Readonly<Record<AttackerName, readonly AttackerName[]>> = {
  icl: [],
  sft: [],
  gflownet: ['sft'],
  smoothing: ['sft', 'gflownet'],
  'smoothing-uniform': ['sft', 'gflownet'],
  'smoothing-balanced': ['sft', 'gflownet'],
  'smoothing-reward': ['sft', 'gflownet'],
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

/** Whose finds a smoothing stage learns, and by which weights where it is not `smoothing.weights` that says so. */
export interface SmoothingOf {
  readonly source: AttackerName;
  readonly weights?: 'uniform' | 'balanced' | 'reward';
}

const SMOOTHING: Readonly<Partial<Record<AttackerName, SmoothingOf>>> = {
  smoothing: { source: 'gflownet' },
  'smoothing-uniform': { source: 'gflownet', weights: 'uniform' },
  'smoothing-balanced': { source: 'gflownet', weights: 'balanced' },
  'smoothing-reward': { source: 'gflownet', weights: 'reward' },
  'reinforce-smoothing': { source: 'reinforce' },
  'ppo-smoothing': { source: 'ppo' },
};

/** How a smoothing stage learns what; undefined for every other attacker. */
export function smoothingOf(name: AttackerName): SmoothingOf | undefined {
  return SMOOTHING[name];
}

/** The attacker whose finds a smoothing stage learns; undefined for every other attacker. */
export function smoothedAttacker(name: AttackerName): AttackerName | undefined {
  return SMOOTHING[name]?.source;
}
