import type { PolicyGradientRun } from '../learning/loops/policy-gradient-parts.ts';
import type { RewardFunction } from '../learning/reward/reward-function.ts';
import type { ParameterVector } from '../models/decoder/parameter-vector.ts';
import { type CallCounter, createCallCounter, createRewardFunction, type Trial } from '../trial/try-attacks.ts';
import { type Campaign, loopControl, rewardSeats } from './campaign/campaign.ts';
import { NEW_WATCH, type Watch, watchUpdate } from './gflownet-watch.ts';
import { policyGradientAttacks, policyGradientMetrics } from './policy-gradient-records.ts';
import { recordTraining } from './record-training.ts';
import { resumeStage } from './resume-stage.ts';

/** Stages that this file serves. */
export type PolicyGradientStage = 'reinforce' | 'ppo';

interface CallerState {
  readonly watch: Watch;
  readonly calls: CallCounter;
}

/** What a stage of reinforcement learning starts with. */
export interface PolicyGradientStart {
  readonly run: PolicyGradientRun<Trial>;
  readonly reward: RewardFunction<Trial>;
  /** The loop's own state from the checkpoint; undefined at a fresh start. */
  readonly extra: unknown;
}

/**
 * Resumes a stage and says how its updates are watched and stored: the same held-out evaluations, alarm and best
 * checkpoint as the GFlowNet's, so that a baseline has the same chances.
 */
export async function startPolicyGradient(
  campaign: Campaign,
  stage: PolicyGradientStage,
  parameters: ParameterVector,
): Promise<PolicyGradientStart> {
  const { config, target } = campaign;
  const start = await resumeStage(campaign, stage, parameters);
  const caller = (start.extra as { caller: CallerState } | undefined)?.caller;
  const calls = caller?.calls ?? createCallCounter();
  const watch: Watch = caller?.watch ?? { ...NEW_WATCH };
  const reward = createRewardFunction(
    { target, decode: config.target.decode, responses: config.target.responses, seats: rewardSeats(campaign) },
    config.gflownet.unsafeFloor,
    calls,
  );
  const run: PolicyGradientRun<Trial> = {
    control: loopControl(campaign, stage, config[stage].checkpointEveryUpdates),
    from: start.update,
    optimizer: start.optimizer,
    extra: (): CallerState => ({ watch, calls: { ...calls } }),
    onUpdate: async (record) => {
      const rows = record.rows.map(({ tokens, meanUnsafe }) => ({ source: 'fresh', tokens, meanUnsafe }));
      const watched = await watchUpdate(
        campaign,
        stage,
        { parameters },
        { update: record.update, rows },
        { reward },
        watch,
        calls,
      );
      const { update, attackTokens, seconds } = record;
      const attacks = policyGradientAttacks(campaign, record);
      const metrics = [...policyGradientMetrics(record), ...watched.metrics];
      const { events } = watched;
      recordTraining(campaign, { stage, update, attacks, metrics, events, attackTokens, seconds }, calls);
      return watched.stop;
    },
  };
  return { run, reward, extra: start.extra };
}
