import type { RunFolder } from '../runs/run-folder.ts';
import { evaluateRun, resumeRun, type StartRunOptions, startRun } from '../stages/campaign/run-campaign.ts';
import type { EvaluationRequest } from '../stages/evaluation/stored-evaluation.ts';
import type { CampaignIo } from '../stages/stage.ts';
import type { RobustnessPlan } from '../studies/robustness/plan-robustness.ts';
import type { Robustness } from '../studies/robustness/robustness-file.ts';
import { runRobustness } from '../studies/robustness/run-robustness.ts';
import { type TransferOutcome, type TransferPlan, transferRun } from '../studies/transfer/run-transfer.ts';
import { type Report, writeReport } from './figures/report-json.ts';
import { readRun } from './run-overview.ts';
import { notMeasured, writeReportPage } from './write-report.ts';

/** A run with its report on the disk. */
export interface ReportedRun {
  readonly folder: RunFolder;
  readonly report: Report;
  /** The figures: `report.json` in the run folder. */
  readonly reportPath: string;
  /** The page for a browser: `report.html` in the run folder. */
  readonly pagePath: string;
}

/**
 * Writes `report.json` and `report.html` of a run from its present database.
 * @throws FloodgateError `run` before the first measurement; `store` when the disk refuses.
 */
export async function writeRunReport(folder: RunFolder, io: CampaignIo): Promise<ReportedRun> {
  const report = await readRun(folder, (overview) => overview.report);
  if (report === undefined) throw notMeasured(folder);
  await writeReport(folder.reportPath, report);
  const { path } = await writeReportPage(folder, { withTexts: true }, io);
  return { folder, report, reportPath: folder.reportPath, pagePath: path };
}

/**
 * Trains and measures every attacker of a config in a new run folder, and writes the report: all of `floodgate run`.
 * An interrupt or an error leaves a run that `resumeCampaign` continues.
 * @throws FloodgateError `usage` for a name that is taken; `interrupted` on abort; any error of a model, a target or a
 * judge.
 */
export async function runCampaign(options: StartRunOptions, io: CampaignIo): Promise<ReportedRun> {
  return writeRunReport(await startRun(options, io), io);
}

/**
 * Continues a run where it stopped, and writes the report. A run that is done gets its report again.
 * @throws FloodgateError `run` while another process holds the run; otherwise as `runCampaign`.
 */
export async function resumeCampaign(folder: RunFolder, io: CampaignIo): Promise<ReportedRun> {
  return writeRunReport(await resumeRun(folder, io), io);
}

/**
 * Measures stages of a run with fresh attacks, and writes the report. More attacks with the stored settings are added
 * to the stored ones; anything else needs `request.replace`.
 *
 * @param stages names of trained stages; undefined for the attackers of the run's config.
 * @param request what to change of the config's `evaluation`.
 * @throws FloodgateError `usage` for an untrained stage, or for attacks that would be discarded; `run` while another
 * process holds the run; otherwise as `runCampaign`.
 */
export async function evaluateCampaign(
  folder: RunFolder,
  stages: readonly string[] | undefined,
  request: EvaluationRequest,
  io: CampaignIo,
): Promise<ReportedRun> {
  return writeRunReport(await evaluateRun(folder, stages, request, io), io);
}

/**
 * Puts a run's stored attacks to further targets, and writes the report: all of `floodgate transfer`.
 * @throws FloodgateError as `transferRun`.
 */
export async function transferCampaign(
  folder: RunFolder,
  plan: TransferPlan,
  io: CampaignIo,
): Promise<ReportedRun & { readonly outcome: TransferOutcome }> {
  const outcome = await transferRun(folder, plan, io);
  return { ...(await writeRunReport(folder, io)), outcome };
}

/**
 * Tunes the target on each attacker's successes, attacks every version, and writes the report: all of
 * `floodgate robustness`.
 * @throws FloodgateError as `runRobustness`.
 */
export async function measureRobustness(
  folder: RunFolder,
  plan: RobustnessPlan,
  io: CampaignIo,
): Promise<ReportedRun & { readonly robustness: Robustness }> {
  const robustness = await runRobustness(folder, plan, io);
  return { ...(await writeRunReport(folder, io)), robustness };
}
