import { FloodgateError } from '../base/errors.ts';
import { writeReport } from '../report/figures/report-json.ts';
import { readRun } from '../report/run-overview.ts';
import { writeReportPage } from '../report/write-report.ts';
import { loadRunConfig, type RunFolder } from '../runs/run-folder.ts';
import { planRun, type RunPlan } from '../stages/campaign/plan-run.ts';
import { evaluateRun, resumeRun, startRun } from '../stages/campaign/run-campaign.ts';
import { sampleAttacks } from '../stages/campaign/sample-attacks.ts';
import { ATTACKERS, type AttackerName } from '../stages/config/attacker-names.ts';
import type { CampaignIo } from '../stages/stage.ts';
import type { CampaignActions } from './campaign-commands.ts';
import { alignColumns, type CommandResult, printable } from './command-output.ts';
import type { CliContext } from './context.ts';
import { eventsText, reportTable } from './run-text.ts';
import { formatDuration } from './terminal-progress.ts';

function ioOf({ progress, signal, cacheDir }: CliContext): CampaignIo {
  return { progress, signal, ...(cacheDir === undefined ? {} : { cacheDir }) };
}

/** Writes report.json and report.html of a run that was worked on, and says what came out. */
async function finish(folder: RunFolder, context: CliContext): Promise<CommandResult> {
  return readRun(folder, async ({ report }, store) => {
    if (report === undefined) throw new FloodgateError('run', `report ${folder.name}: nothing has been measured yet`);
    await writeReport(folder.reportPath, report);
    const page = await writeReportPage(folder, { withTexts: true }, context);
    const isWorld = report.stages.some(({ metrics }) => metrics.modeRecall !== undefined);
    const warnings = eventsText(store?.events() ?? []);
    const lines = [
      reportTable(report),
      '',
      isWorld
        ? 'keys found: share of the planted keys that a successful attack holds. share error: distance of the keys\u2019 shares from the reward\u2019s own; its floor is what an exact sampler\u2019s draw shows.'
        : '* the judge that counts.',
      ...(warnings === '' ? [] : [warnings, '']),
      `Figures: ${folder.reportPath}`,
      `Report to read in a browser: ${page.path}`,
      isWorld
        ? 'Next, on a real model: floodgate models pull smollm2-135m-instruct, then floodgate run examples/smollm2.yaml'
        : `Next: floodgate show ${folder.name} --attacks 10`,
    ];
    return { text: lines.join('\n'), json: report };
  });
}

function planText({ seeds, stages, memoryBytes, gigaflops, seconds }: RunPlan): string {
  const rows = stages.map(({ name, attacks, targetCalls, judgeCalls, tokens, seconds: each }) => [
    name,
    ...[attacks, targetCalls, judgeCalls, tokens].map((count) => count.toLocaleString('en-US')),
    formatDuration(each * 1000),
  ]);
  return [
    alignColumns([['stage', 'attacks', 'target calls', 'judge calls', 'tokens', 'about'], ...rows]),
    '',
    `${seeds} seeds; about ${(memoryBytes / 2 ** 30).toFixed(1)} GiB of memory; about ${formatDuration(seconds * 1000)} at the ${gigaflops.toFixed(0)} GFLOP/s measured now. Nothing was started.`,
  ].join('\n');
}

/** The last stage that has left an attacker. */
async function lastStage(folder: RunFolder): Promise<AttackerName> {
  return readRun(folder, (_overview, store) => {
    const done = store?.stages().filter(({ status }) => status === 'done') ?? [];
    const learntNothing = (name: string): boolean =>
      store?.events().some(({ stage, code }) => stage === name && code === 'nothing-collected') ?? false;
    const stage = [...ATTACKERS]
      .reverse()
      .find((name) => done.some((row) => row.name === name) && !learntNothing(name));
    if (stage === undefined)
      throw new FloodgateError('run', `sample ${folder.name}: no stage is done, so there is no attacker yet`);
    return stage;
  });
}

/** What the commands that train, measure and sample do. */
export const campaignActions: CampaignActions = {
  async run({ config, name, isNameChosen, runsFolder, isDryRun }, context) {
    if (isDryRun) {
      const plan = await planRun(config, ioOf(context));
      return { text: planText(plan), json: plan };
    }
    const ifTaken = isNameChosen ? 'refuse' : 'number';
    return finish(await startRun({ config, runsFolder, name, ifTaken }, ioOf(context)), context);
  },

  async resume({ folder }, context) {
    return finish(await resumeRun(folder, ioOf(context)), context);
  },

  async evaluate({ folder, stages, attacks, responses, seed }, context) {
    const wanted = stages ?? (await loadRunConfig(folder)).attackers;
    const plan = {
      ...(attacks === undefined ? {} : { attacks }),
      ...(responses === undefined ? {} : { responses }),
      ...(seed === undefined ? {} : { seed }),
    };
    return finish(await evaluateRun(folder, wanted, plan, ioOf(context)), context);
  },

  async sample({ folder, stage, count, temperature, seed }, context) {
    const from = stage ?? (await lastStage(folder));
    const attacks = await sampleAttacks(folder, { stage: from, count, temperature, seed }, ioOf(context));
    return {
      text: attacks.map(({ text }) => printable(text)).join('\n'),
      json: { run: folder.name, stage: from, attacks },
    };
  },
};
