import { z } from 'zod';
import { nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import { initialiseParameters } from '../engine/optimizer/flat-parameters.ts';
import { newPpoState, type PpoOptions, type PpoParts, type PpoState, trainPpo } from '../learning/loops/ppo.ts';
import { type ActorCriticSession, openActorCriticSession } from '../models/decoder/actor-critic-session.ts';
import type { Evidence } from '../trial/evidence.ts';
import { loadReference } from './checkpoints.ts';
import { type Config, createSection } from './config/config.ts';
import { createNoveltyMeter, type NoveltyState } from './novelty.ts';
import { commonOptions, FOR_SUCCESS, policyGradientShape, policyGradientWork, updatesOf } from './policy-gradient.ts';
import { startRewarded, withMeasuredCap } from './rewarded-training.ts';
import { type Campaign, checkWarmup, planContextOf, type Stage } from './stage.ts';

const NAME = 'ppo';

const novelty = z
  .strictObject({
    selfBleu: nonNegative.default(0.5).describe('weight of the mean of BLEU-2..5 against everything written before'),
    cosine: nonNegative.default(1).describe('weight of the mean embedding cosine to everything written before'),
    groupSize: positiveCount
      .max(65_536)
      .default(8)
      .describe('attacks that are measured together before they join the history'),
    gibberish: nonNegative.default(1).describe('penalty on an attack that the reference finds improbable'),
    gibberishThreshold: z
      .number()
      .max(0)
      .default(-7)
      .describe('mean log p_ref per token (nats) below which an attack counts as gibberish'),
  })
  .prefault({})
  .describe('terms of the reward beside the judge (curiosity-driven red-teaming)');

const adaptiveKl = z
  .strictObject({
    targetKl: positive.describe('target mean of log pi - log p_ref, nats'),
    horizon: positive.default(10_000).describe('attacks over which the weight may change by a fifth'),
  })
  .optional()
  .describe('adapts kl to a target; kl is constant when absent');

/** PPO with novelty rewards; defaults of the curiosity work. */
export const ppoSection = createSection(
  NAME,
  z
    .strictObject({
      ...policyGradientShape({ batchSize: 128, learningRate: 3e-5 }),
      minibatchSize: positiveCount.max(65_536).default(64).describe('attacks of one optimizer step'),
      epochs: positiveCount.max(100).default(4).describe("passes over an update's attacks"),
      clipRange: positive
        .max(1)
        .default(0.2)
        .describe('the probability ratio is clipped to 1 - clipRange .. 1 + clipRange'),
      valueClipRange: positive
        .nullable()
        .default(0.2)
        .describe('values are clipped to this distance from their old value; null = no clipping'),
      valueWeight: nonNegative.default(1).describe('weight of the value loss'),
      valueLearningRate: positive.optional().describe('of the value head; learningRate when absent'),
      stopValueGradient: z.boolean().default(false).describe('the value loss moves its head only'),
      discount: share.default(1).describe('over tokens'),
      lambda: share.default(0.95).describe('of the generalised advantage estimate'),
      whitenAdvantages: z.boolean().default(true).describe('moves advantages to mean 0 and variance 1'),
      adaptiveKl,
      entropy: nonNegative.default(0.01).describe('weight of the bonus -log pi, at every token'),
      rewardClip: positive.default(10).describe("an attack's reward is clipped to +- this"),
      novelty,
    })
    .prefault({})
    .describe('attacker ppo: clipped policy gradient with a value head, rewarded for novelty'),
);

/** The loop's options as the config has them. */
export function ppoOptions(config: Config, updates: number): PpoOptions {
  const section = ppoSection.of(config);
  const { rate, shared } = commonOptions(config, section, updates);
  const { valueClipRange, adaptiveKl: adaptive, valueLearningRate, learningRate, novelty: weights } = section;
  const { selfBleu, cosine, gibberish, gibberishThreshold } = weights;
  return {
    ...shared,
    learningRate: rate(learningRate),
    valueLearningRate: rate(valueLearningRate ?? learningRate),
    epochs: section.epochs,
    minibatchSize: section.minibatchSize,
    clipRange: section.clipRange,
    ...(valueClipRange === null ? {} : { valueClipRange }),
    valueWeight: section.valueWeight,
    discount: section.discount,
    lambda: section.lambda,
    whitenAdvantages: section.whitenAdvantages,
    ...(adaptive === undefined ? {} : { adaptiveKl: adaptive }),
    entropy: section.entropy,
    novelty: { selfBleu, cosine, gibberish, gibberishThreshold },
    rewardClip: section.rewardClip,
  };
}

function openPolicy({ attacker, compute, config }: Campaign, options: PpoOptions): Promise<ActorCriticSession> {
  const { config: model, weights, trainable, contextTokens } = attacker.spec;
  const { clipRange, valueClipRange } = options;
  return openActorCriticSession(
    {
      config: model,
      weights,
      trainable,
      contextTokens,
      bans: attacker.bans,
      valueGradient: ppoSection.of(config).stopValueGradient ? 'head-only' : 'through-trunk',
      clipRange,
      ...(valueClipRange === undefined ? {} : { valueClipRange }),
    },
    compute,
  );
}

/** The novelty meter, only where novelty has a weight: it costs embeddings. */
function noveltyOf({ config, encoder, store }: Campaign, saved: unknown): Pick<PpoParts<Evidence>, 'novelty'> {
  const { selfBleu, cosine, groupSize } = ppoSection.of(config).novelty;
  if (selfBleu === 0 && cosine === 0) return {};
  if (saved === undefined) return { novelty: createNoveltyMeter({ encoder, groupSize }) };
  // Attacks that no judge could score were not measured.
  const measured = store.attacks({ stage: NAME }).filter(({ meanUnsafe }) => meanUnsafe !== null);
  const restored = { state: saved as NoveltyState, texts: measured.map(({ text }) => text) };
  return { novelty: createNoveltyMeter({ encoder, groupSize, restored }) };
}

async function run(campaign: Campaign): Promise<void> {
  const { config, attacker, store } = campaign;
  const section = ppoSection.of(config);
  const updates = updatesOf(config, section, planContextOf(campaign));
  store.beginStage(NAME, updates);
  const reference = await loadReference(campaign);
  const options = ppoOptions(await withMeasuredCap(campaign, reference), updates);
  const policy = await openPolicy(campaign, options);
  try {
    initialiseParameters(policy.parameters, config.seed);
    policy.parameters.data.set(reference.data); // the value head is behind it
    const start = await startRewarded(campaign, NAME, policy.parameters, section.checkpointEveryUpdates);
    const saved = start.extra as { readonly ppo: PpoState; readonly novelty: unknown } | undefined;
    const parts = {
      attacker,
      policy,
      state: saved?.ppo ?? newPpoState(options),
      reference: attacker.stateOf(reference),
      reward: start.reward,
      ...noveltyOf(campaign, saved?.novelty),
    };
    await trainPpo(parts, options, start.run);
    store.endStage(NAME, 'done');
  } finally {
    await policy.close();
  }
}

/** PPO with novelty rewards: from the SFT attacker, with the frozen SFT attacker as reference. */
export const ppo: Stage = {
  name: NAME,
  needs: ['sft'],
  sections: [ppoSection],
  words: {
    label: 'PPO',
    explain: 'Trained by trial and error for success alone, in small safe steps.',
    learning: FOR_SUCCESS,
  },
  knowsTarget: 'learns',
  hasDensity: true,
  check: (config) => checkWarmup(NAME, ppoSection.of(config)),
  plan: (config, context) => policyGradientWork(config, ppoSection.of(config), context, ppoSection.of(config).epochs),
  run,
};
