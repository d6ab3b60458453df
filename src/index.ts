/**
 * The public library of Floodgate. `floodgate` on the command line is a face of it: a run through these functions leaves
 * the same folder, report included. See docs/extending.md for parts of one's own.
 *
 * @module floodgate
 */

/** The schema library, so that sections of one's own are of the same version as ours. */
export { z } from 'zod';
// A campaign: train attackers against a target, measure them, write the report.
export { type ErrorCode, FloodgateError } from './base/errors.ts';
export { type ProgressSink, silentProgress } from './base/progress.ts';
// Parts of one's own: one file each, defined before a config is read.
export { type RandomStream, randomStream } from './base/random.ts';
// A run in the formats of other tools, and its attacker.
export { type ExportedAttackerFolder, exportAttacker } from './exports/export-attacker.ts';
export { type ExportedRun, type ExportRunOptions, exportRun } from './exports/export-run.ts';
export { type ImportAttackerOptions, type ImportedAttacker, importAttacker } from './exports/import-attacker.ts';
export {
  createBatchedJudge,
  type Exchange,
  type Judge,
  type JudgeConfig,
  type JudgeDefinition,
  toVerdict,
  type Verdict,
} from './judges/judge.ts';
export { defineJudge } from './judges/registry.ts';
export type { Attack, AttackTokens, SampledAttack } from './learning/attack.ts';
export type { Attacker, AttackerState } from './learning/attacker.ts';
export { type Objective, type ObjectiveKind, residuals } from './learning/objectives/objective.ts';
export { defineObjective } from './learning/objectives/registry.ts';
export { isUnsafe, type JudgeScore, type RewardFunction } from './learning/reward/reward.ts';
export type { AttackMetric, AttackSet, AttackSetOptions, MetricText } from './metrics/attack-set.ts';
export { type CauseAnswer, type CauseQuestion, type CauseResult, searchCause } from './metrics/causes.ts';
export { type FoundCauses, findCauses } from './metrics/causes-search.ts';
export { causeFigures, groupCauses } from './metrics/causes-ways.ts';
export { correctedSuccess, type JudgedAnswers } from './metrics/corrected-success.ts';
export {
  calibrateScores,
  type DecisionQuality,
  type JudgeCalibration,
  type ThresholdRule,
} from './metrics/judge-calibration.ts';
export type { LabelledScore } from './metrics/judge-curves.ts';
export { type Measure, pointMeasure } from './metrics/measure.ts';
export { defineMetric } from './metrics/registry.ts';
export { clusteredCount, type HitCount, type JudgeErrors, roganGladen } from './metrics/rogan-gladen.ts';
export {
  evaluateCampaign,
  measureRobustness,
  type ReportedRun,
  resumeCampaign as resumeRun,
  runCampaign,
  transferCampaign,
  writeRunReport,
} from './report/campaigns.ts';
export { type Comparison, compareRuns } from './report/compare/compare-runs.ts';
export { runSeedCampaigns, type SeedFigure, type SeedRuns } from './report/compare/seed-figures.ts';
export type { Report } from './report/figures/report-json.ts';
export { checkGate, type GateCheck, type GateResult } from './report/gate/gate.ts';
export { type AttackerFolder, findAttackerFolder, listAttackerFolders } from './runs/attacker-folder.ts';
export { type LabelWish, labelRun } from './runs/labelled-run.ts';
export { type Manifest, readManifest } from './runs/manifest.ts';
export { removeAttacker } from './runs/remove-attacker.ts';
export { removeRunFolder } from './runs/remove-run.ts';
export { listRunFolders, openRunFolder, type RunFolder } from './runs/run-folder.ts';
export { readLabels, withdrawLabel } from './runs/store/label-store.ts';
export { answerKey, attackKey, type Label, type Labels } from './runs/store/labels.ts';
export { openStore, type RunStore } from './runs/store/run-store.ts';
export { type RunningServer, type ServeOptions, serveModel } from './serve/serve.ts';
export { openServedAttacker, openServedExport, openServedModel, type ServedModel } from './serve/served-model.ts';
export { loadConfig, loadRunConfig, parseConfig } from './stages/campaign/config-load.ts';
export { configJsonSchema } from './stages/campaign/config-schema.ts';
export { type OpenPartOptions, openJudge, openTarget, testTarget } from './stages/campaign/open-parts.ts';
export { planRun, type RunPlan } from './stages/campaign/plan-run.ts';
export { sampleAttacks, sampleExportedAttacks } from './stages/campaign/sample-attacks.ts';
export { loadReference, openStageAttacker } from './stages/checkpoints.ts';
export type { Config } from './stages/config/config.ts';
export { createSection, type Section } from './stages/config/config.ts';
export { createPolicyDraw } from './stages/policy-draw.ts';
export { defineStage } from './stages/registry.ts';
export { openReward } from './stages/rewarded-training.ts';
export type {
  AttackDraw,
  Campaign,
  CampaignIo,
  DrawnAttack,
  DrawnBatch,
  DrawPlan,
  PlanContext,
  Stage,
  StageWords,
  StageWork,
} from './stages/stage.ts';
// Studies of a finished run.
export { loadRoundsConfig, runRounds } from './studies/rounds/run-rounds.ts';
export { parseSeeds, type SeedsPlan } from './studies/seeds/run-seeds.ts';
export { loadTransferTargets } from './studies/transfer/transfer-config.ts';
export { tuneRun } from './studies/tune/tune-run.ts';
export { type EndpointQuestion, type FoundEndpoint, findEndpoint } from './targets/endpoint-probe.ts';
export { defineTarget } from './targets/registry.ts';
export { createRemoteTarget, failedAnswer } from './targets/remote-target.ts';
export type {
  AskOptions,
  DecodeSettings,
  Target,
  TargetAnswer,
  TargetRequest,
  Usage,
} from './targets/target.ts';
export {
  NO_MODEL_FACTS,
  type OpenTarget,
  type PlannedTarget,
  type TargetConfig,
  type TargetDefinition,
  type TargetFacts,
  type TargetHost,
  type TargetKind,
} from './targets/target-kind.ts';
export { type Calls, createLedger, type Ledger } from './trial/ledger.ts';
export { createTrial, type JudgeSeat, type Trial } from './trial/trial.ts';
export type { WorkerCounts } from './workers/perform-job.ts';
export { runWorker, type WorkerOptions } from './workers/worker.ts';
