import type { ScoreRule } from '../../learning/loops/policy-gradient-parts.ts';
import type { PpoOptions } from '../../learning/loops/ppo-parts.ts';
import type { ReinforceOptions } from '../../learning/loops/reinforce.ts';
import type { Config } from './config-schema.ts';
import { fluencyRule, rewardRule } from './gflownet-settings.ts';

type Section = Config['reinforce'] | Config['ppo'];

/**
 * Attacks that the GFlowNet stage tries by its config, each with `target.responses` calls: fresh ones, replayed ones
 * that are scored again, those that seed its buffer, and those of its held-out evaluations.
 */
export function gflownetAttacks({ gflownet }: Config, seeds: number): number {
  const { updates, objective, ctb, sampling, replay, evaluation } = gflownet;
  const rows = gflownet.batchSize * gflownet.accumulation;
  const fresh = Math.max(1, Math.round(rows * (objective === 'ctb' ? ctb.onPolicyShare : sampling.freshShare)));
  const everyUpdate = replay.rescore ? rows : fresh;
  const first = (replay.seedWithSft ? seeds : 0) + replay.seedWithReference;
  return updates * everyUpdate + first + heldOutAttacks(evaluation, updates);
}

function heldOutAttacks({ everyUpdates, attacks }: Config['gflownet']['evaluation'], updates: number): number {
  return everyUpdates === 0 ? 0 : Math.floor(updates / everyUpdates) * attacks;
}

/** Updates of a section: its own number, or as many as cost what the GFlowNet stage costs, held-out evaluations included. */
export function policyGradientUpdates(config: Config, { updates, batchSize }: Section, seeds: number): number {
  if (updates !== undefined) return updates;
  const budget = gflownetAttacks(config, seeds);
  const { everyUpdates, attacks } = config.gflownet.evaluation;
  const heldOut = everyUpdates === 0 ? 0 : attacks / everyUpdates;
  let found = Math.max(1, Math.floor(budget / (batchSize + heldOut)));
  const spent = (count: number): number => policyGradientAttackCount(config, { batchSize }, count);
  while (spent(found + 1) <= budget) found++;
  return found;
}

/** Attacks that so many updates of a section try, those of held-out evaluations among them. */
export function policyGradientAttackCount(
  { gflownet }: Config,
  { batchSize }: Pick<Section, 'batchSize'>,
  updates: number,
): number {
  return updates * batchSize + heldOutAttacks(gflownet.evaluation, updates);
}

function scoreRule(config: Config, { score }: Section): ScoreRule {
  switch (score) {
    case 'meanUnsafe':
      return { kind: 'mean-unsafe' };
    case 'logS':
      return { kind: 'log-s', beta: config.gflownet.beta };
    case 'logR':
      return { kind: 'log-r', reward: rewardRule(config), fluency: fluencyRule(config) };
  }
}

function commonOptions(config: Config, section: Section, seeds: number) {
  const { batchSize, microBatchSize, warmupUpdates, decay, decayFrom, gradientClip, weightDecay, kl } = section;
  const updates = policyGradientUpdates(config, section, seeds);
  const rate = (peak: number) => ({ peak, warmupUpdates, decay, decayFrom, totalUpdates: updates });
  const score = scoreRule(config, section);
  const { seed } = config;
  return { rate, shared: { updates, batchSize, microBatchSize, gradientClip, weightDecay, kl, score, seed } };
}

/** REINFORCE's options as the config has them; `seeds` counts the seed attacks. */
export function reinforceOptions(config: Config, seeds: number): ReinforceOptions {
  const { reinforce } = config;
  const { rate, shared } = commonOptions(config, reinforce, seeds);
  return {
    ...shared,
    learningRate: rate(reinforce.learningRate),
    baseline:
      reinforce.baseline === 'running-mean'
        ? { kind: reinforce.baseline, decay: reinforce.baselineDecay }
        : { kind: reinforce.baseline },
    normaliseAdvantages: reinforce.normaliseAdvantages,
    entropy: reinforce.entropy,
  };
}

/** PPO's options as the config has them; `seeds` counts the seed attacks. */
export function ppoOptions(config: Config, seeds: number): PpoOptions {
  const { ppo } = config;
  const { rate, shared } = commonOptions(config, ppo, seeds);
  const { valueClipRange, adaptiveKl } = ppo;
  const { selfBleu, cosine, gibberish, gibberishThreshold } = ppo.novelty;
  return {
    ...shared,
    learningRate: rate(ppo.learningRate),
    valueLearningRate: rate(ppo.valueLearningRate ?? ppo.learningRate),
    epochs: ppo.epochs,
    minibatchSize: ppo.minibatchSize,
    clipRange: ppo.clipRange,
    ...(valueClipRange === null ? {} : { valueClipRange }),
    valueWeight: ppo.valueWeight,
    discount: ppo.discount,
    lambda: ppo.lambda,
    whitenAdvantages: ppo.whitenAdvantages,
    ...(adaptiveKl === undefined ? {} : { adaptiveKl }),
    entropy: ppo.entropy,
    novelty: { selfBleu, cosine, gibberish, gibberishThreshold },
    rewardClip: ppo.rewardClip,
  };
}
