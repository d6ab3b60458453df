import { trainPpo } from '../learning/loops/ppo.ts';
import { newPpoState, type PpoOptions, type PpoParts, type PpoState } from '../learning/loops/ppo-parts.ts';
import { type ActorCriticSession, openActorCriticSession } from '../models/decoder/actor-critic-session.ts';
import { initialiseParameters } from '../models/decoder/parameter-vector.ts';
import type { Trial } from '../trial/try-attacks.ts';
import type { Campaign } from './campaign/campaign.ts';
import { loadReference } from './campaign/load-reference.ts';
import { ppoOptions } from './config/policy-gradient-settings.ts';
import { createNoveltyMeter, type NoveltyState } from './novelty.ts';
import { startPolicyGradient } from './policy-gradient-stage.ts';

const STAGE = 'ppo';

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
      valueGradient: config.ppo.stopValueGradient ? 'head-only' : 'through-trunk',
      clipRange,
      ...(valueClipRange === undefined ? {} : { valueClipRange }),
    },
    compute,
  );
}

/** The meter, where novelty has a weight: it would cost embeddings otherwise. */
function noveltyOf({ config, encoder, store }: Campaign, saved: unknown): Pick<PpoParts<Trial>, 'novelty'> {
  const { selfBleu, cosine, groupSize } = config.ppo.novelty;
  if (selfBleu === 0 && cosine === 0) return {};
  if (saved === undefined) return { novelty: createNoveltyMeter({ encoder, groupSize }) };
  // Attacks that no judge could score were not measured.
  const measured = store.attacks({ stage: STAGE }).filter(({ meanUnsafe }) => meanUnsafe !== null);
  const restored = { state: saved as NoveltyState, texts: measured.map(({ text }) => text) };
  return { novelty: createNoveltyMeter({ encoder, groupSize, restored }) };
}

/** PPO with novelty rewards: from the SFT attacker, with the frozen SFT attacker as reference. */
export async function runPpo(campaign: Campaign): Promise<void> {
  const { config, attacker, store, seeds } = campaign;
  const options = ppoOptions(config, seeds.attacks.length);
  store.beginStage(STAGE, options.updates);
  const reference = await loadReference(campaign);
  const policy = await openPolicy(campaign, options);
  try {
    initialiseParameters(policy.parameters, config.seed);
    policy.parameters.data.set(reference.data); // the value head lies behind
    const { run, reward, extra } = await startPolicyGradient(campaign, STAGE, policy.parameters);
    const saved = extra as { ppo: PpoState; novelty: unknown } | undefined;
    const parts = {
      attacker,
      policy,
      reference: attacker.stateOf(reference),
      reward,
      ...noveltyOf(campaign, saved?.novelty),
    };
    await trainPpo(parts, options, run, saved?.ppo ?? newPpoState(options));
    store.endStage(STAGE, 'done');
  } finally {
    await policy.close();
  }
}
