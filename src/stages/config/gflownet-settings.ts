import type { GflownetOptions } from '../../learning/loops/gflownet-parts.ts';
import type { Objective } from '../../learning/objectives/objectives.ts';
import type { ReplayBufferOptions } from '../../learning/replay/replay-rules.ts';
import type { FluencyForm, FluencyRule } from '../../learning/reward/fluency.ts';
import type { RewardRule } from '../../learning/reward/reward.ts';
import type { Config, GflownetConfig } from './config-schema.ts';

function objectiveOf({ objective, ctb }: GflownetConfig): Objective {
  return objective === 'ctb' ? { kind: 'ctb', sigma: ctb.sigma, huber: ctb.huber } : { kind: objective };
}

/** How the reference's opinion enters the reward. */
export function fluencyRule(config: Config): FluencyRule {
  const { form, k, threshold, penalty, shortPenalty } = config.gflownet.fluency;
  const rule: FluencyForm = form === 'min-k-gate' ? { kind: form, k, threshold, penalty } : { kind: form };
  return { form: rule, minTokens: config.attacker.minTokens, shortPenalty };
}

/** How the reward is composed. */
export function rewardRule({ gflownet }: Config): RewardRule {
  const { beta, gamma, temperature } = gflownet;
  return { beta, gamma, temperature };
}

const REPLAY_BY = { logS: 'judge', logR: 'reward', uniform: 'uniform' } as const;

/** The loop's options as the config has them. */
export function gflownetOptions(config: Config): GflownetOptions {
  const { gflownet, seed } = config;
  const { updates, warmupUpdates, decay, decayFrom, sampling } = gflownet;
  const rate = (peak: number) => ({ peak, warmupUpdates, decay, decayFrom, totalUpdates: updates });
  return {
    objective: objectiveOf(gflownet),
    updates,
    batchSize: gflownet.batchSize,
    accumulation: gflownet.accumulation,
    learningRate: rate(gflownet.learningRate),
    logZLearningRate: rate(gflownet.logZLearningRate ?? gflownet.learningRate),
    gradientClip: gflownet.gradientClip,
    weightDecay: gflownet.weightDecay,
    reward: rewardRule(config),
    fluency: fluencyRule(config),
    truncationPenalty: gflownet.truncationPenalty,
    freshShare: gflownet.objective === 'ctb' ? gflownet.ctb.onPolicyShare : sampling.freshShare,
    temperedShare: sampling.temperedShare,
    temperatures: sampling.temperatures,
    replayBy: REPLAY_BY[gflownet.replay.draw],
    rescoreReplay: gflownet.replay.rescore,
    seed,
  };
}

/** The replay buffer's rules as the config has them. */
export function bufferOptions({ replay }: GflownetConfig): Partial<ReplayBufferOptions> {
  const evictBy = replay.evictBy === 'logS' ? 'judge' : 'reward';
  return {
    capacity: replay.capacity,
    evictBy,
    nearEditRatio: replay.nearDuplicate.kind === 'edit' ? replay.nearDuplicate.threshold : null,
    nearCosine: replay.nearDuplicate.kind === 'cosine' ? replay.nearDuplicate.threshold : null,
  };
}
