import { SMALL_WORLD } from '../small-worlds/small-world.ts';

/** One way in which a run differs from the default. */
export interface Variant {
  /** The varied part. Variants of one group are compared with each other and with the default. */
  readonly group: string;
  readonly name: string;
  readonly overrides: readonly string[];
  /** Share of each update that the attacker writes, where it is not the default's half. */
  readonly freshShare?: number;
  /** Responses to each attack, where they are not the default's five. */
  readonly responses?: number;
}

const DEFAULT_RESPONSES = 5;

/** Target calls of the default run, before smoothing re-scores what was found. */
const BUDGET = (SMALL_WORLD.updates * SMALL_WORLD.freshAttacks + SMALL_WORLD.seededAttacks) * DEFAULT_RESPONSES;

/** Updates for which a variant makes as many target calls as the default. */
export function updatesOf({ freshShare, responses = DEFAULT_RESPONSES }: Variant): number {
  const { batchSize, freshAttacks, seededAttacks } = SMALL_WORLD;
  const fresh = freshShare === undefined ? freshAttacks : Math.max(1, Math.round(batchSize * freshShare));
  return Math.max(1, Math.floor((BUDGET / responses - seededAttacks) / fresh));
}

const replay = (key: string, value: string) => `gflownet.replay.${key}=${value}`;

/** Every other variant is compared with it. */
export const DEFAULT: Variant = { group: 'default', name: 'default', overrides: [] };

/** Every ablation, the default first. */
export const VARIANTS: readonly Variant[] = [
  DEFAULT,
  { group: 'objective', name: 'vargrad', overrides: ['gflownet.objective=vargrad'] },
  {
    group: 'objective',
    name: 'ctb',
    overrides: ['gflownet.objective=ctb', 'gflownet.ctb.sigma=0'],
    freshShare: 2 / 3,
  },
  {
    group: 'objective',
    name: 'ctb-ngp',
    overrides: ['gflownet.objective=ctb', 'gflownet.ctb.sigma=0.5'],
    freshShare: 2 / 3,
  },
  { group: 'fluency', name: 'mean', overrides: ['reward.fluency.form=mean'] },
  { group: 'fluency', name: 'min-k-gate', overrides: ['reward.fluency.form=min-k-gate'] },
  { group: 'replay', name: 'no-replay', overrides: ['gflownet.sampling.freshShare=1'], freshShare: 1 },
  { group: 'replay', name: 'replay-3-of-4', overrides: ['gflownet.sampling.freshShare=0.25'], freshShare: 0.25 },
  { group: 'replay', name: 'uniform-draw', overrides: [replay('draw', 'uniform')] },
  { group: 'replay', name: 'draw-by-reward', overrides: [replay('draw', 'logR')] },
  { group: 'replay', name: 'dedup-edit', overrides: [replay('nearDuplicate', '{kind: edit}')] },
  { group: 'replay', name: 'dedup-cosine', overrides: [replay('nearDuplicate', '{kind: cosine}')] },
  { group: 'temperature', name: 'untempered', overrides: ['gflownet.sampling.temperedShare=0'] },
  { group: 'temperature', name: 'all-tempered', overrides: ['gflownet.sampling.temperedShare=1'] },
  {
    group: 'temperature',
    name: 'reward-2-to-1',
    overrides: ['reward.temperature={from: 2, to: 1, updates: 250}'],
  },
  { group: 'beta', name: 'beta-0.1', overrides: ['reward.beta=0.1'] },
  { group: 'beta', name: 'beta-0.2', overrides: ['reward.beta=0.2'] },
  { group: 'beta', name: 'beta-0.5', overrides: ['reward.beta=0.5'] },
  { group: 'gamma', name: 'gamma-1.2', overrides: ['reward.gamma={from: 1, to: 1.2, updates: 250}'] },
  { group: 'responses', name: 'responses-1', overrides: ['target.responses=1'], responses: 1 },
  { group: 'responses', name: 'responses-3', overrides: ['target.responses=3'], responses: 3 },
  { group: 'smoothing', name: 'unverified', overrides: ['smoothing.rescore=false'] },
  { group: 'smoothing', name: 'by-embedding', overrides: ['smoothing.clusters=embedding'] },
  { group: 'smoothing', name: 'uniform', overrides: ['smoothing.weights=uniform'] },
  { group: 'smoothing', name: 'by-reward', overrides: ['smoothing.weights=reward'] },
  { group: 'smoothing', name: 'lora', overrides: ['attacker.method=lora'] },
  { group: 'smoothing', name: 'lora-then-full', overrides: ['attacker.method=lora', 'smoothing.method=full'] },
  { group: 'judge', name: 'noisy-judge', overrides: ['world.noise=0.5'] },
];
