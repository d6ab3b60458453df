import { FloodgateError } from '../base/errors.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import { MAX_STATE_BYTES } from '../learning/checkpoints/trainer-state.ts';
import { AskedBatches, type BatchReward, type DrawnBatch } from '../learning/loops/asked-batches.ts';
import { type GflownetOptions, trainGflownet } from '../learning/loops/gflownet.ts';
import type { GflownetParts } from '../learning/loops/gflownet-parts.ts';
import { slopeClips } from '../learning/objectives/objective.ts';
import { MAX_SURROGATE_ROWS, Surrogate, type SurrogateState } from '../learning/proposals/surrogate.ts';
import {
  type BufferSize,
  fittingCapacity,
  largestBufferBytes,
  longestTokenBytes,
} from '../learning/replay/replay-buffer-size.ts';
import { type ReplaySettings, replayDraw } from '../learning/replay/replay-section.ts';
import { MAX_CLUSTERS } from '../learning/replay/wording-clusters.ts';
import { referenceRule, rewardRule } from '../learning/reward/reward-section.ts';
import { POOL_CAPACITY } from '../learning/reward/spread.ts';
import { isFreeTarget } from '../targets/registry.ts';
import type { Evidence } from '../trial/evidence.ts';
import { createLedger, type Ledger } from '../trial/ledger.ts';
import { loadReference } from './checkpoints.ts';
import type { Config } from './config/config.ts';
import { embedEach } from './embed-each.ts';
import { openMemories, type SavedMemories } from './gflownet-memory.ts';
import {
  aheadOf,
  assertPublishable,
  checkGflownetSection,
  freshShareOf,
  type GflownetSection,
  gflownetSection,
  objectiveOf,
  successiveResponses,
} from './gflownet-section.ts';
import {
  openAttackerPolicy,
  openReward,
  type SuccessiveRule,
  startRewarded,
  withMeasuredCap,
} from './rewarded-training.ts';
import { seedBuffer } from './seed-buffer.ts';
import type { Campaign, OpenedSearch, Stage, StageWork } from './stage.ts';
import { heldOutAttacks } from './watch.ts';

/** Batches that are asked ahead: where another machine or process answers, this one has nothing else to do meanwhile. */
function askedAheadOf({ target }: Pick<Config, 'target'>, section: GflownetSection): number {
  const { depth, searches } = section.pipeline;
  if (searches === 'workers') return aheadOf(section);
  if (depth !== 'auto') return depth;
  return isFreeTarget(target) ? 0 : 1;
}

/** The loop's options as the config has them. */
function gflownetOptions(config: Config, section: GflownetSection, reference: ParameterVector): GflownetOptions {
  const { updates, warmupUpdates, decay, decayFrom, sampling: behaviour, replay, spread: over } = section;
  const rate = (peak: number) => ({ peak, warmupUpdates, decay, decayFrom, totalUpdates: updates });
  return {
    objective: objectiveOf(section).objective,
    updates,
    batchSize: section.batchSize,
    accumulation: section.accumulation,
    learningRate: rate(section.learningRate),
    logZLearningRate: rate(section.logZLearningRate ?? section.learningRate),
    gradientClip: section.gradientClip,
    weightDecay: section.weightDecay,
    reward: rewardRule(config.reward),
    ...referenceRule(config.reward, config.attacker.minTokens),
    freshShare: freshShareOf(section),
    temperedShare: behaviour.temperedShare,
    temperatures: behaviour.temperatures,
    rewriteShare: behaviour.rewriteShare,
    rewriteChange: behaviour.rewriteChange,
    updatesPerBatch: section.updatesPerBatch,
    askedAhead: askedAheadOf(config, section),
    ...(section.pipeline.order === 'arrival' ? { maxLag: section.pipeline.maxLag } : {}),
    ...(over.eta > 0 ? { spread: over } : {}),
    ...(section.screen.candidates > 1 ? { screen: section.screen } : {}),
    ...(section.cycles.count > 1 ? { cycles: { ...section.cycles, start: reference.data } } : {}),
    ...replayDraw(replay as ReplaySettings),
    rescoreReplay: replay.rescore,
    seed: config.seed,
  };
}

/**
 * Refuses a capacity whose full buffer might not fit into a checkpoint: training would be lost when it is saved.
 * @throws FloodgateError `config`.
 */
export function assertBufferFits(size: BufferSize): void {
  const bytes = largestBufferBytes(size);
  if (bytes <= MAX_STATE_BYTES) return;
  const what = `${size.capacity} attacks of ${size.maxTokens} tokens may take ${bytes} bytes in a checkpoint`;
  throw new FloodgateError('config', `gflownet.replay.capacity: ${what}, expected at most ${MAX_STATE_BYTES}`, {
    hint: `set gflownet.replay.capacity to at most ${fittingCapacity(size, MAX_STATE_BYTES)}, or lower attacker.maxTokens`,
  });
}

function needsEmbeddings({ replay, spread: over, screen }: GflownetSection): boolean {
  const isCompared = replay.nearDuplicate.kind === 'cosine' || replay.draw === 'mixed';
  return isCompared || over.eta > 0 || screen.candidates > 1;
}

/** Sizes of the replay buffers and the pools in this campaign. */
function bufferSizeOf({ attacker, encoder }: Campaign, section: GflownetSection): BufferSize {
  const { tokenizer, maxTokens, config } = attacker.spec;
  const { cells } = attacker;
  return {
    // An entry of the pool, the surrogate or the clusters is smaller than one of the buffer.
    capacity:
      cells.length *
        (section.replay.capacity +
          (section.spread.eta > 0 ? POOL_CAPACITY : 0) +
          (section.replay.draw === 'mixed' ? MAX_CLUSTERS : 0)) +
      (section.screen.candidates > 1 ? MAX_SURROGATE_ROWS : 0),
    maxTokens,
    vocabSize: Math.max(config.vocabSize, tokenizer.vocabSize),
    tokenBytes: longestTokenBytes(tokenizer),
    embeddingWidth: needsEmbeddings(section) ? encoder.width : 0,
  };
}

/** The reward of one batch; its calls reach the ledger when the batch is taken, as its attacks reach the update. */
function openBatchReward(campaign: Campaign, ledger: Ledger, successive?: SuccessiveRule): BatchReward<Evidence> {
  const own = createLedger();
  return { reward: openReward(campaign, own, successive), settle: () => ledger.add(own.take()) };
}

/** Searches on workers where the config wants them. Close them when done. */
async function openSearches(
  campaign: Campaign,
  stage: string,
  { section, reference }: { readonly section: GflownetSection; readonly reference: ParameterVector },
): Promise<OpenedSearch | undefined> {
  if (section.pipeline.searches === 'learner') return undefined;
  const responses = successiveResponses(section)?.first ?? campaign.config.target.responses;
  return campaign.openSearch?.({ stage, reference: reference.data, screens: section.screen.candidates > 1, responses });
}

/** GFlowNet fine-tuning: from the SFT attacker, with the frozen SFT attacker as reference. */
async function train(campaign: Campaign, stage: string, section: GflownetSection): Promise<void> {
  const { attacker, store } = campaign;
  store.beginStage(stage, section.updates);
  const reference = await loadReference(campaign);
  const options = gflownetOptions(await withMeasuredCap(campaign, reference), section, reference);
  const { usesLogZ } = options.objective;
  // Answers must be read while a step computes.
  const compute = { ...campaign.compute, ownThread: options.askedAhead > 0 };
  const policy = await openAttackerPolicy(
    { attacker, compute },
    {
      logZ: usesLogZ ? (section.stopLogZGradient ? 'head-only' : 'through-trunk') : 'none',
      ...slopeClips(options.objective),
    },
  );
  let searches: OpenedSearch | undefined;
  try {
    searches = await openSearches(campaign, stage, { section, reference });
    policy.parameters.data.set(reference.data); // the logZ head is behind it and starts at zero
    const every = section.checkpointEveryUpdates;
    const { run, reward, ledger, extra } = await startRewarded(campaign, stage, policy.parameters, every);
    const saved = extra as
      | (SavedMemories & { readonly surrogate?: SurrogateState; readonly asked?: readonly DrawnBatch[] })
      | undefined;
    const successive = successiveResponses(section);
    const parts: GflownetParts<Evidence> = {
      ...openMemories(attacker, section, options, saved),
      attacker,
      policy,
      reference: attacker.stateOf(reference),
      reward: successive === undefined ? reward : openReward(campaign, ledger, successive),
      openReward: () => openBatchReward(campaign, ledger, successive),
      asked: new AskedBatches<Evidence>(),
      ...(searches === undefined ? {} : { search: searches.search, takenOrder: searches.takenOrder }),
      ...(options.screen === undefined ? {} : { surrogate: new Surrogate(options.seed, saved?.surrogate) }),
      ...(needsEmbeddings(section) ? { embed: embedEach(campaign.encoder) } : {}),
    };
    if (saved === undefined) await seedBuffer({ campaign, stage, parts, options, replay: section.replay, ledger });
    for (const drawn of saved?.asked ?? [])
      await parts.asked.ask(parts, options, drawn, { stored: await searches?.collect(drawn.update) });
    await trainGflownet(parts, options, run);
    store.endStage(stage, 'done');
  } finally {
    await searches?.close();
    await policy.close();
  }
}

/** Attacks that the stage tries: fresh ones, replayed ones scored again, the buffer's first, and held-out ones. */
function workOf(config: Config, section: GflownetSection, seeds: number): StageWork {
  const { updates, batchSize, accumulation, replay, updatesPerBatch } = section;
  const rows = batchSize * accumulation;
  const fresh = Math.max(1, Math.round(rows * freshShareOf(section)));
  const batches = Math.ceil(updates / updatesPerBatch);
  const inTraining = replay.rescore ? updates * rows : batches * fresh;
  const first = (replay.seedWithSft ? seeds : 0) + replay.seedWithReference;
  const tried = inTraining + first + heldOutAttacks(config, updates);
  const refitted = (section.cycles.count - 1) * section.cycles.updates * batchSize;
  const most = successiveResponses(section)?.most;
  return {
    attacks: tried + (replay.seedCandidates - 1) * replay.seedWithReference,
    tried,
    ...(most === undefined ? {} : { responses: Math.max(most, config.target.responses) }),
    trainedRows: updates * rows + refitted,
    passRows: batchSize,
  };
}

/** A stage of the GFlowNet's family. `variant` gives the config and section that it sees. */
export function gflownetStage(
  own: Pick<Stage, 'name' | 'words'>,
  variant: (config: Config) => { readonly config: Config; readonly section: GflownetSection },
): Stage {
  return {
    ...own,
    needs: ['sft'],
    sections: [gflownetSection],
    knowsTarget: 'learns',
    hasDensity: true,
    check: checkGflownetSection,
    plan: (whole, { seeds }) => {
      const { config, section } = variant(whole);
      return workOf(config, section, seeds);
    },
    checkModels: (campaign) => {
      const { section } = variant(campaign.config);
      assertBufferFits(bufferSizeOf(campaign, section));
      assertPublishable(section, campaign.attacker.createParameters().data.byteLength);
    },
    run: (campaign) => {
      const { config, section } = variant(campaign.config);
      return train({ ...campaign, config }, own.name, section);
    },
  };
}

/** How the attackers that seek every kind of attack learned, for the report. */
export const MANY_KINDS =
  'first by imitating examples, then by trial and error, with a method (GFlowNet fine-tuning) that rewards finding many kinds of message, not one over and over';

/** The paper's attacker: it samples attacks in proportion to their reward. */
export const gflownet = gflownetStage(
  {
    name: 'gflownet',
    words: {
      lead: 2,
      label: 'GFlowNet',
      explain: 'Trained by trial and error to write every kind of successful message, each as often as it deserves.',
      learning: MANY_KINDS,
    },
  },
  (config) => ({ config, section: gflownetSection.of(config) }),
);
