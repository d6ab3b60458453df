import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { createAdamWState } from '../engine/optimizer/adamw.ts';
import type { AttackTokens } from '../learning/attacker.ts';
import { loadLatestCheckpoint, saveCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { type LikelihoodExample, type LikelihoodUpdate, trainLikelihood } from '../learning/loops/likelihood.ts';
import type { ParameterVector } from '../models/decoder/parameter-vector.ts';
import type { PolicyGraphOptions } from '../models/decoder/policy-graph.ts';
import { openPolicySession, type PolicySession } from '../models/decoder/policy-session.ts';
import { readManifest } from '../runs/manifest.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import { type Campaign, loopControl } from './campaign/campaign.ts';
import { SFT } from './campaign/load-reference.ts';
import { plainMetric } from './campaign/plain-metric.ts';
import { resumeStage } from './resume-stage.ts';

/** The training session of an attacker's adapter (or weights) for one objective. */
export function openAttackerPolicy(
  { attacker, compute }: Pick<Campaign, 'attacker' | 'compute'>,
  objective: Pick<PolicyGraphOptions, 'logZ' | 'pairClip'>,
): Promise<PolicySession> {
  const { config, weights, trainable, contextTokens } = attacker.spec;
  return openPolicySession({ config, weights, trainable, contextTokens, bans: attacker.bans, ...objective }, compute);
}

/** Seeds as attacks, split into training and validation by the run's seed. */
function splitSeeds({ attacker, seeds, config }: Campaign): { training: AttackTokens[]; validation: AttackTokens[] } {
  const shuffled = randomStream(config.seed, 'seed split').shuffle(seeds.attacks);
  const held = Math.min(Math.floor(shuffled.length * config.sft.validationShare), shuffled.length - 1);
  const attacks = shuffled.map((text) => attacker.tokensOf(text)).filter(({ tokens }) => tokens.length > 0);
  return { validation: attacks.slice(0, held), training: attacks.slice(held) };
}

/** Stores one update of a likelihood stage: its losses as metrics. */
export function recordLikelihood({ store }: Campaign, stage: string, record: LikelihoodUpdate): void {
  const metric = (name: string, value: number) => plainMetric(name, value, 1);
  store.recordUpdate({
    stage,
    update: record.update,
    metrics: [
      metric('loss', record.loss),
      metric('gradientNorm', record.gradientNorm),
      ...(record.validationLoss === undefined ? [] : [metric('validationLoss', record.validationLoss)]),
    ],
    cost: { targetCalls: 0, judgeCalls: 0, tokens: 0, seconds: record.seconds },
  });
}

/** Copies the SFT adapter of another run, whose attacker goes on here. */
async function inheritAttacker(campaign: Campaign, from: string, parameters: ParameterVector): Promise<void> {
  const other = await openRunFolder(from, `${campaign.folder.path}/..`);
  const manifest = await readManifest(other.manifestPath);
  const theirs = manifest.models.find(({ role }) => role === 'attacker');
  if (theirs?.sha256 !== campaign.attackerModel.sha256) {
    throw new FloodgateError(
      'run',
      `attacker.from ${from}: its attacker is ${theirs?.spec}, this run's is ${campaign.attackerModel.spec}`,
      {
        hint: 'use the same attacker.model in both configs',
      },
    );
  }
  const found = await loadLatestCheckpoint({ folder: other.checkpointsPath, stage: SFT }, parameters);
  if (found === undefined) throw new FloodgateError('run', `attacker.from ${from}: that run has no trained attacker`);
}

/**
 * SFT warm-up: the attacker learns the seeds. Its result starts the policy and is the frozen reference.
 */
export async function runSft(campaign: Campaign): Promise<void> {
  const { config, attacker, store } = campaign;
  const { sft, seed } = config;
  const control = loopControl(campaign, SFT, 50);
  const from = config.attacker.from;
  store.beginStage(SFT, from === undefined ? sft.updates : 0);
  const policy = await openAttackerPolicy(campaign, { logZ: 'none' });
  try {
    await attacker.initialise(policy.parameters, seed);
    const start = await resumeStage(campaign, SFT, policy.parameters);
    if (from !== undefined) {
      await inheritAttacker(campaign, from, policy.parameters);
      const optimizer = createAdamWState(policy.parameters.data.length);
      await saveCheckpoint(control.checkpoints, policy.parameters, { update: 0, optimizer, extra: {} });
    } else {
      const { training, validation } = splitSeeds(campaign);
      const examples = training.map((attack): LikelihoodExample => ({ row: attacker.rowOf(attack), weight: 1 }));
      await trainLikelihood(
        policy,
        { examples, validation: validation.map((attack) => attacker.rowOf(attack)) },
        {
          prompt: attacker.prompt,
          minTokens: 0,
          batchSize: sft.batchSize,
          learningRate: {
            peak: sft.learningRate,
            warmupUpdates: sft.warmupUpdates,
            decay: 'constant',
            totalUpdates: sft.updates,
          },
          gradientClip: sft.gradientClip,
          weightDecay: sft.weightDecay,
          seed,
          validateEveryUpdates: 25,
        },
        {
          control,
          from: start.update,
          optimizer: start.optimizer,
          onUpdate: (record) => recordLikelihood(campaign, SFT, record),
        },
      );
    }
    store.endStage(SFT, 'done');
  } finally {
    await policy.close();
  }
}
