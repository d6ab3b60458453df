import type { LearningRateRule } from '../../engine/optimizer/learning-rate.ts';
import type { ActorCriticSession } from '../../models/decoder/actor-critic-session.ts';
import type { NoveltyMeter, NoveltyWeights } from '../reward/novelty-reward.ts';
import type { AdaptiveKlRule } from './kl-controller.ts';
import type { PolicyGradientOptions, PolicyGradientParts } from './policy-gradient-parts.ts';

export interface PpoOptions extends PolicyGradientOptions {
  /** Passes over an update's attacks. */
  readonly epochs: number;
  /** Attacks of one optimizer step. */
  readonly minibatchSize: number;
  readonly clipRange: number;
  readonly valueClipRange?: number;
  readonly valueWeight: number;
  /** Of the value head. */
  readonly valueLearningRate: LearningRateRule;
  /** Discount over tokens. */
  readonly discount: number;
  /** Lambda of the generalised advantage estimate. */
  readonly lambda: number;
  /** Moves all tokens' advantages to mean 0 and variance 1. */
  readonly whitenAdvantages: boolean;
  /** Weight of the KL penalty, at every token; where it starts when it adapts. */
  readonly kl: number;
  /** Fixed coefficient when absent. */
  readonly adaptiveKl?: AdaptiveKlRule;
  /** Weight of -log pi, at every token. */
  readonly entropy: number;
  readonly novelty: NoveltyWeights;
  /** Largest size of an attack's reward. */
  readonly rewardClip: number;
}

export interface PpoParts<Evidence> extends PolicyGradientParts<Evidence> {
  readonly policy: ActorCriticSession;
  /** Needed when one of its weights is above 0. */
  readonly novelty?: NoveltyMeter;
}

/** What a checkpoint of PPO holds beside parameters, optimizer and the novelty history. */
export interface PpoState {
  klCoefficient: number;
}

export function newPpoState(options: Pick<PpoOptions, 'kl'>): PpoState {
  return { klCoefficient: options.kl };
}
