import { type RandomStream, randomStream } from '../../src/base/random.ts';
import type { AttackerName } from '../attackers.ts';

/** Attackers with settings to search: the others have none but the budget (best-of-n) or are the world's own (sft). */
export const SEARCHED = ['gflownet', 'smoothing', 'stable-gfn', 'reinforce', 'ppo'] as const satisfies AttackerName[];
export type SearchedAttacker = (typeof SEARCHED)[number];

type Draw = (random: RandomStream) => number | string;

/** Three digits: what is logged is what was run. */
const rounded = (value: number): number => Number(value.toPrecision(3));

const uniform =
  (low: number, high: number): Draw =>
  (random) =>
    rounded(low + (high - low) * random.nextFloat());

const logUniform =
  (low: number, high: number): Draw =>
  (random) =>
    rounded(low * (high / low) ** random.nextFloat());

const oneOf =
  (...choices: (number | string)[]): Draw =>
  (random) =>
    choices[random.nextInt(choices.length)] as number | string;

const learningRate = logUniform(1e-4, 1e-2);
/** Above 0.1 nothing is learned: the penalty outweighs every success. */
const klWeight = logUniform(1e-3, 0.1);
const entropy = oneOf(0, 0.001, 0.01, 0.03);

/**
 * The searched settings of each attacker, by config key. None changes its target calls or the reward by which
 * it is judged. `stable-gfn` has its own keys only; it shares the rest with the GFlowNet.
 */
export const SPACES: Readonly<Record<SearchedAttacker, Readonly<Record<string, Draw>>>> = {
  gflownet: {
    'gflownet.learningRate': learningRate,
    'gflownet.logZLearningRate': logUniform(0.03, 0.3),
    'gflownet.sampling.temperedShare': uniform(0, 1),
    'gflownet.replay.draw': oneOf('logS', 'logR', 'uniform'),
  },
  smoothing: {
    'smoothing.learningRate': learningRate,
    'smoothing.updates': oneOf(150, 300, 600),
  },
  'stable-gfn': {
    'gflownet.ctb.sigma': uniform(0, 1),
    'gflownet.ctb.huber': logUniform(0.3, 10),
    'reward.fluency.k': oneOf(1, 2, 4, 7),
    'reward.fluency.threshold': uniform(-12, -4),
  },
  reinforce: {
    'reinforce.learningRate': learningRate,
    'reinforce.kl': klWeight,
    'reinforce.entropy': entropy,
    'reinforce.baseline': oneOf('leave-one-out', 'running-mean'),
  },
  ppo: {
    'ppo.learningRate': learningRate,
    'ppo.kl': klWeight,
    'ppo.entropy': entropy,
    'ppo.epochs': oneOf(1, 2, 4),
    'ppo.novelty.cosine': logUniform(0.1, 3),
  },
};

/** The settings of trial `index`, as config overrides: none for trial 0, the defaults, else drawn at random. */
export function trialOverrides(attacker: SearchedAttacker, index: number): string[] {
  if (index === 0) return [];
  const random = randomStream(0, 'search', attacker, index);
  return Object.entries(SPACES[attacker]).map(([key, draw]) => `${key}=${draw(random)}`);
}
