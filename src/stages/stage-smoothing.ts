import { monotonicMs } from '../base/clock.ts';
import { type CollectedAttack, collectionWeights } from '../learning/loops/collection-weights.ts';
import { type LikelihoodExample, trainLikelihood } from '../learning/loops/likelihood.ts';
import { logRewardAt } from '../learning/reward/reward.ts';
import type { EventRecord } from '../runs/store/records.ts';
import { type Campaign, loopControl } from './campaign/campaign.ts';
import { loadReference } from './campaign/load-reference.ts';
import { isFullSmoothing } from './campaign/stage-attackers.ts';
import { collectAttacks, loadCollection } from './collection.ts';
import { clusterSizes } from './collection-clusters.ts';
import { type AttackerName, smoothedAttacker, smoothingOf } from './config/attacker-names.ts';
import { rewardRule } from './config/gflownet-settings.ts';
import { resumeStage } from './resume-stage.ts';
import { openAttackerPolicy, recordLikelihood } from './stage-sft.ts';

async function examplesOf(
  campaign: Campaign,
  stage: AttackerName,
  attacks: readonly CollectedAttack[],
): Promise<LikelihoodExample[]> {
  const { config } = campaign;
  const weights = smoothingOf(stage)?.weights ?? config.smoothing.weights;
  const rule = rewardRule(config);
  const logReward = logRewardAt(rule, config.gflownet.updates);
  const values = collectionWeights(attacks, {
    kind: weights,
    clusterSizes: weights === 'balanced' ? await clusterSizes(campaign, attacks) : [],
    logReward: ({ logPRef, score }) => logReward(logPRef, score.logS),
  });
  return attacks.map(({ ids }, i) => ({ row: ids, weight: values[i] as number }));
}

/**
 * Number under which the collection is recorded: made before the first update and kept in a file, so that no resume
 * makes its calls again, and no truncation of updates may count them as repeated.
 */
const BEFORE_UPDATES = -1;

/** Recorded in one transaction with the cost; a kill in between leaves neither. */
const COLLECTION_EVENTS: readonly string[] = ['collected', 'nothing-collected'];

function isCollectionRecorded({ store }: Campaign, name: AttackerName): boolean {
  return store.events().some(({ stage, code }) => stage === name && COLLECTION_EVENTS.includes(code));
}

function collectionEvent(kept: number, found: number): EventRecord {
  const message = `${kept} distinct attacks to learn from, of ${found} collected`;
  if (kept > 0) return { level: 'info', code: 'collected', message };
  const hint =
    'no attack passed collect.minUnsafe and collect.minLogPRef: nothing was trained; lower them, or train longer';
  return { level: 'warning', code: 'nothing-collected', message: `${message}; ${hint}` };
}

/**
 * Smoothing: the SFT attacker, not the policy that found them, learns the collected attacks by maximum likelihood. Says
 * so and trains on nothing when nothing was collected.
 */
export async function runSmoothing(campaign: Campaign, stage: AttackerName): Promise<void> {
  const { config, store, compute } = campaign;
  const { smoothing, seed } = config;
  const source = smoothedAttacker(stage) ?? stage;
  const found = collectAttacks(campaign, source);
  store.beginStage(stage, smoothing.updates);
  const attacker = await campaign.attackerOf(stage);
  const policy = await openAttackerPolicy({ attacker, compute }, { logZ: 'none' });
  try {
    if (isFullSmoothing(config, stage)) await attacker.initialise(policy.parameters, seed);
    else policy.parameters.data.set((await loadReference(campaign)).data);
    const start = await resumeStage(campaign, stage, policy.parameters);
    const began = monotonicMs();
    const { attacks: collected, calls } = await loadCollection(campaign, source, found);
    const seconds = (monotonicMs() - began) / 1000;
    const examples = collected.length === 0 ? [] : await examplesOf(campaign, stage, collected);
    if (!isCollectionRecorded(campaign, stage)) {
      const event = collectionEvent(examples.length, found.length);
      store.recordUpdate({ stage, update: BEFORE_UPDATES, cost: { ...calls, seconds }, events: [event] });
    }
    if (examples.length === 0) {
      store.endStage(stage, 'done');
      return;
    }
    await trainLikelihood(
      policy,
      { examples, validation: [] },
      {
        prompt: attacker.prompt,
        minTokens: attacker.spec.minTokens,
        batchSize: smoothing.batchSize,
        learningRate: {
          peak: smoothing.learningRate,
          warmupUpdates: smoothing.warmupUpdates,
          decay: 'constant',
          totalUpdates: smoothing.updates,
        },
        gradientClip: smoothing.gradientClip,
        weightDecay: smoothing.weightDecay,
        seed,
        validateEveryUpdates: smoothing.updates,
      },
      {
        control: loopControl(campaign, stage, 50),
        from: start.update,
        optimizer: start.optimizer,
        onUpdate: (record) => recordLikelihood(campaign, stage, record),
      },
    );
    store.endStage(stage, 'done');
  } finally {
    await policy.close();
  }
}
