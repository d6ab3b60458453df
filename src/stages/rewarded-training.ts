import { randomStream } from '../base/random.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { Attack } from '../learning/attack.ts';
import { cellInTurn } from '../learning/attacker.ts';
import { drawAttacks, type TrainingUpdate } from '../learning/loops/rollout.ts';
import type { TrainingRun } from '../learning/loops/update-loop.ts';
import { isUnsafe, type RewardFunction } from '../learning/reward/reward.ts';
import type { PolicyGraphOptions } from '../models/decoder/policy-graph.ts';
import { openPolicySession, type PolicySession } from '../models/decoder/policy-session.ts';
import { attackRow, type MetricRecord } from '../runs/store/records.ts';
import { type Evidence, meanUnsafeOf } from '../trial/evidence.ts';
import { createLedger, type Ledger } from '../trial/ledger.ts';
import { createSuccessiveTrial } from '../trial/successive-trial.ts';
import { createRewardFunction, createTrial, type JudgeSeat, type Trial } from '../trial/trial.ts';
import { loopControl, resumeStage } from './checkpoints.ts';
import type { Config } from './config/config.ts';
import { meanMetric, plainMetric } from './metric-records.ts';
import type { Campaign } from './stage.ts';
import { finishHeldOut, NEW_WATCH, type Watch, watchUpdate } from './watch.ts';

/** The judge that gives the reward, alone. */
export function rewardSeat({ trainingJudge }: Pick<Campaign, 'trainingJudge'>): JudgeSeat {
  return { judge: trainingJudge, masked: false, name: trainingJudge.name };
}

/** Responses of an attack: `first` for each, `most` for one whose first responses succeed. */
export interface SuccessiveRule {
  readonly first: number;
  readonly most: number;
}

/** The reward as the run's config has it; every call is counted in `ledger`. `successive` replaces `target.responses`. */
export function openReward(campaign: Campaign, ledger: Ledger, successive?: SuccessiveRule): RewardFunction<Evidence> {
  const { config, target, io } = campaign;
  const { decode, responses: all } = config.target;
  const seat = rewardSeat(campaign);
  const trialOf = (responses: number): Trial =>
    createTrial({ target, decode, responses, seats: [seat], ledger, signal: io.signal });
  const trial =
    successive === undefined
      ? trialOf(all)
      : createSuccessiveTrial({
          first: trialOf(successive.first),
          again: trialOf(successive.most - successive.first),
          isWorthMore: (evidence) => isUnsafe(meanUnsafeOf(evidence, seat) ?? 0),
        });
  return createRewardFunction(trial, seat, config.reward.unsafeFloor);
}

/** Attacks of the reference whose likelihood is measured. */
const CAP_SAMPLES = 128;

/**
 * The config with a number for `reward.fluency.cap`: where the reference gives it, the median of log p_ref per factor
 * over attacks that the reference draws. It asks no target, and is the same at each resume.
 */
export async function withMeasuredCap(campaign: Campaign, reference: ParameterVector): Promise<Config> {
  const { attacker, config } = campaign;
  const { fluency } = config.reward;
  if (fluency.form !== 'capped' || fluency.cap !== 'reference') return config;
  const requests = Array.from({ length: CAP_SAMPLES }, (_, i) => ({
    stream: randomStream(config.seed, 'fluency cap', i),
    temperature: 1,
    ...cellInTurn(attacker.cells, i),
  }));
  const drawn = await drawAttacks(attacker, attacker.stateOf(reference), requests);
  const rates = drawn.map((attack) => attack.logPi / attacker.rowOf(attack).length).sort((a, b) => a - b);
  return { ...config, reward: { ...config.reward, fluency: { ...fluency, cap: rates[CAP_SAMPLES / 2] as number } } };
}

/** The training session of an attacker's adapter (or weights) for one objective. */
export function openAttackerPolicy(
  { attacker, compute }: Pick<Campaign, 'attacker' | 'compute'>,
  objective: Pick<PolicyGraphOptions, 'logZ' | 'pairClip' | 'rowClip'>,
): Promise<PolicySession> {
  const { config, weights, trainable, contextTokens } = attacker.spec;
  return openPolicySession({ config, weights, trainable, contextTokens, bans: attacker.bans, ...objective }, compute);
}

/** The start of a stage that learns from rewards. */
export interface RewardedStart {
  readonly run: TrainingRun<TrainingUpdate<Evidence>>;
  readonly reward: RewardFunction<Evidence>;
  readonly ledger: Ledger;
  /** The loop's own state from the checkpoint; undefined at a fresh start. */
  readonly extra: unknown;
}

/**
 * Resumes a stage and sets up how its updates are watched and stored. Every attacker has the same held-out evaluations,
 * alarm and best checkpoint, so that a baseline has the same chances.
 */
export async function startRewarded(
  campaign: Campaign,
  stage: string,
  parameters: ParameterVector,
  checkpointEveryUpdates: number,
): Promise<RewardedStart> {
  const { update, optimizer, extra } = await resumeStage(campaign, stage, parameters);
  const saved = extra as { readonly caller: { readonly watch: Watch } } | undefined;
  const watch: Watch = saved?.caller.watch ?? { ...NEW_WATCH };
  const ledger = createLedger();
  const reward = openReward(campaign, ledger);
  const watched = { campaign, stage, parameters, reward, ledger, watch };
  const isOver = await finishHeldOut(watched);
  const run: TrainingRun<TrainingUpdate<Evidence>> = {
    control: { ...loopControl(campaign, stage, checkpointEveryUpdates), isOver },
    from: update,
    optimizer,
    extra: () => ({ watch }),
    onUpdate: async (record) => {
      const { events, metrics, stop } = await watchUpdate(watched, record);
      const calls = ledger.take();
      campaign.store.recordUpdate({
        stage,
        update: record.update,
        attacks: [...record.rows, ...record.unscored].map((attack) => toRow(campaign, attack)),
        metrics: [...updateMetrics(record), ...metrics],
        events,
        cost: { ...calls, tokens: calls.tokens + record.attackTokens, seconds: record.seconds },
      });
      return stop;
    },
  };
  return { run, reward, ledger, extra };
}

/** An attack of this run's attacker as a row of the database. */
export function toRow({ attacker }: Pick<Campaign, 'attacker'>, attack: Attack<Evidence>) {
  return attackRow(attack, attacker.rowOf(attack));
}

/** An update's metrics. Tempered and replayed rows carry no information about the policy's own distribution. */
export function updateMetrics({ rows, unscored, metrics, counts }: TrainingUpdate<Evidence>): MetricRecord[] {
  const n = rows.length;
  const fresh = rows.filter(({ source }) => source === 'fresh');
  const terms = Object.keys(rows[0]?.terms ?? {});
  const hasLogReward = rows.some(({ logReward }) => logReward !== undefined);
  return [
    ...Object.entries(metrics).map(([name, value]) => plainMetric(name, n === 0 ? null : value, n)),
    ...Object.entries(counts).map(([name, value]) => plainMetric(name, value, 1)),
    ...terms.map((term) => meanMetric(`reward.${term}`, rows, (row) => row.terms?.[term] as number)),
    ...(hasLogReward ? [meanMetric('logReward', fresh, (row) => row.logReward as number)] : []),
    meanMetric('batchUnsafe', fresh, ({ score }) => score.meanUnsafe),
    meanMetric('batchAsr', fresh, ({ score }) => (isUnsafe(score.meanUnsafe) ? 1 : 0)),
    meanMetric('fluency', fresh, ({ fluency }) => fluency),
    plainMetric('unscored', unscored.length, 1),
  ];
}
