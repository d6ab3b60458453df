import type { AttackerState } from '../learning/attacker.ts';
import { trainGflownet } from '../learning/loops/gflownet.ts';
import type { GflownetParts } from '../learning/loops/gflownet-parts.ts';
import { createReplayBuffer, type ReplayBuffer } from '../learning/replay/replay-buffer.ts';
import { restoreReplayBuffer } from '../learning/replay/replay-buffer-state.ts';
import type { PolicySession } from '../models/decoder/policy-session.ts';
import { type CallCounter, createCallCounter, createRewardFunction, type Trial } from '../trial/try-attacks.ts';
import { type Campaign, loopControl, rewardSeats } from './campaign/campaign.ts';
import { loadReference } from './campaign/load-reference.ts';
import type { Config } from './config/config-schema.ts';
import { bufferOptions, gflownetOptions } from './config/gflownet-settings.ts';
import { attackRecords, updateMetrics } from './gflownet-records.ts';
import { NEW_WATCH, type Watch, watchUpdate } from './gflownet-watch.ts';
import { recordTraining } from './record-training.ts';
import { resumeStage } from './resume-stage.ts';
import { seedBuffer } from './seed-buffer.ts';
import { openAttackerPolicy } from './stage-sft.ts';

/** Stages that this file trains: the paper's, and Stable-GFN's contrastive objective behind a fluency gate. */
export type GflownetStage = 'gflownet' | 'stable-gfn';

/** The config as `stage` sees it: its own objective and fluency in the GFlowNet section. */
export function gflownetConfigOf(config: Config, stage: GflownetStage): Config {
  if (stage === 'gflownet') return config;
  const { logZLearningRate: _unused, ...gflownet } = config.gflownet;
  return {
    ...config,
    gflownet: { ...gflownet, objective: 'ctb', fluency: { ...gflownet.fluency, form: 'min-k-gate' } },
  };
}

/** Sentence embeddings one by one, as the buffer keeps them. */
function embedder({ encoder }: Campaign): (texts: readonly string[]) => Promise<Float32Array[]> {
  return async (texts) => {
    const flat = await encoder.embed(texts);
    const width = flat.length / Math.max(1, texts.length);
    return texts.map((_, i) => flat.slice(i * width, (i + 1) * width));
  };
}

function restoreBuffer(extra: unknown): { buffer: ReplayBuffer; watch: Watch } | undefined {
  if (extra === undefined) return undefined;
  const { buffer, caller } = extra as { buffer: unknown; caller: { watch: Watch } };
  return { buffer: restoreReplayBuffer(buffer), ...caller };
}

/** GFlowNet fine-tuning: from the SFT attacker, with the frozen SFT attacker as reference. */
export async function runGflownet(whole: Campaign, stage: GflownetStage): Promise<void> {
  const campaign = { ...whole, config: gflownetConfigOf(whole.config, stage) };
  const { config, attacker, store } = campaign;
  const options = gflownetOptions(config);
  store.beginStage(stage, options.updates);
  const reference = await loadReference(campaign);
  const logZ =
    options.objective.kind !== 'tb' ? 'none' : config.gflownet.stopLogZGradient ? 'head-only' : 'through-trunk';
  const policy = await openAttackerPolicy(campaign, {
    logZ,
    ...(options.objective.kind === 'ctb' ? { pairClip: options.objective.huber } : {}),
  });
  try {
    policy.parameters.data.set(reference.data); // the logZ head lies behind and starts at zero
    const start = await resumeStage(campaign, stage, policy.parameters);
    const restored = restoreBuffer(start.extra);
    const calls = createCallCounter();
    const parts = createParts(campaign, policy, attacker.stateOf(reference), restored?.buffer, calls);
    const watch: Watch = restored?.watch ?? { ...NEW_WATCH };
    if (restored === undefined) await seedBuffer(campaign, stage, parts, options, calls);
    await trainGflownet(parts, options, {
      control: loopControl(campaign, stage, config.gflownet.checkpointEveryUpdates),
      from: start.update,
      optimizer: start.optimizer,
      extra: () => ({ watch }),
      onUpdate: async (record) => {
        const watched = await watchUpdate(campaign, stage, policy, record, parts, watch, calls);
        const { update, attackTokens, seconds } = record;
        const attacks = attackRecords(campaign, record);
        const metrics = [...updateMetrics(record), ...watched.metrics];
        const { events } = watched;
        recordTraining(campaign, { stage, update, attacks, metrics, events, attackTokens, seconds }, calls);
        return watched.stop;
      },
    });
    store.endStage(stage, 'done');
  } finally {
    await policy.close();
  }
}

function createParts(
  campaign: Campaign,
  policy: PolicySession,
  reference: AttackerState,
  restored: ReplayBuffer | undefined,
  calls: CallCounter,
): GflownetParts<Trial> {
  const { config, attacker, target } = campaign;
  const { gflownet } = config;
  const reward = createRewardFunction(
    { target, decode: config.target.decode, responses: config.target.responses, seats: rewardSeats(campaign) },
    gflownet.unsafeFloor,
    calls,
  );
  return {
    attacker,
    policy,
    reference,
    buffer: restored ?? createReplayBuffer(bufferOptions(gflownet)),
    reward,
    ...(gflownet.replay.nearDuplicate.kind === 'cosine' ? { embed: embedder(campaign) } : {}),
  };
}
