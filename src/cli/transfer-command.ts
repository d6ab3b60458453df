import type { Command } from 'commander';
import { transferCampaign } from '../report/campaigns.ts';
import type { Report } from '../report/figures/report-json.ts';
import { type TransferReport, transferCell } from '../report/figures/transfer-report.ts';
import { measureText } from '../report/words/number-words.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import type { TransferOutcome } from '../studies/transfer/run-transfer.ts';
import { loadTransferTargets } from '../studies/transfer/transfer-config.ts';
import { alignColumns, type CommandResult, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, callsIo } from './context.ts';
import { addCallOptions, addRunsOption, type CallOptions, parsePositiveCount, type RunsOptions } from './options.ts';
import { announceStudy } from './start-line.ts';

interface TransferOptions extends RunsOptions, CallOptions {
  readonly targets: readonly string[];
  readonly attacker: readonly string[];
  readonly attacks?: number;
  readonly again?: boolean;
}

const EXAMPLES = `
--targets takes a targets file (.yaml), a model as a config names it, tuned:NAME for a target tuned on this run, or
world:FAMILY-SIZE[@SHARE] for a run in a synthetic world (gpt2, llama, qwen; small, large; share of its keys in common).

A targets file:
  decode: { temperature: 0.1, topP: 0.9, maxNewTokens: 64 }   # the default, as are 5 responses
  targets:
    - { name: same }                                          # no model: the run's own target
    - { name: curt, systemPrompt: Answer in one short sentence. }
    - { name: hot, decode: { temperature: 1 } }
    - { name: shallow, layers: 24 }                           # without its last layers
    - { name: int8, precision: int8 }
    - { name: safe, model: "tuned:smoothing" }

Examples:
  floodgate transfer smollm2 --targets examples/transfer-targets.yaml
  floodgate transfer smollm2 --targets ./other-model --targets tuned:safe --attacker smoothing --attacks 64
  floodgate transfer demo --targets world:gpt2-small@0.5 --targets world:llama-large@0.5 --json

The attacks are those that the evaluation stored. The same command resumes where it stopped, and keeps filled cells.`;

const FIGURES = [
  ['success rate', 'asr'],
  ['attacks that could not be asked or judged', 'excluded'],
  ['wordings', 'uniqueAttacks'],
  ['transfer rate (of those that succeed at home)', 'transferRate'],
  ['true success rate, computed from the target', 'exactAsr'],
  ['true transfer rate, computed from the target', 'exactTransferRate'],
] as const;

/** A table of attacks left out is shown only where there are any. */
function isSaying(metric: string, figure: { readonly value: number | null } | undefined): boolean {
  return metric === 'excluded' ? (figure?.value ?? 0) > 0 : figure !== undefined;
}

function matrixText(transfer: TransferReport, judge: string, asked: TransferOutcome): string {
  const figureOf = (attacker: string, target: string, metric: string) =>
    transferCell(transfer, attacker, target)?.judges.find(({ name }) => name === judge)?.metrics[metric];
  return FIGURES.flatMap(([heading, metric]) => {
    const isKnown = asked.attackers.some((attacker) =>
      asked.targets.some((target) => isSaying(metric, figureOf(attacker, target, metric))),
    );
    if (!isKnown) return [];
    const rows = asked.attackers.map((attacker) => [
      attacker,
      ...asked.targets.map((target) => measureText(figureOf(attacker, target, metric))),
    ]);
    return [`${heading}, by ${judge}`, alignColumns([['attacker', ...asked.targets], ...rows]), ''];
  }).join('\n');
}

function transferText({ run, transfer }: Report, outcome: TransferOutcome): string {
  if (transfer === undefined) return 'nothing was transferred';
  const judges = [...new Set(transfer.cells.flatMap(({ judges }) => judges.map(({ name }) => name)))];
  const shown = [run.reportedJudge, ...judges.filter((name) => name !== run.reportedJudge)];
  const warnings = transfer.targets
    .filter(({ name }) => outcome.targets.includes(name))
    .flatMap(({ name, warnings }) => warnings.map((warning) => `warning: ${name}: ${warning}`));
  return [
    ...shown.map((judge) => matrixText(transfer, judge, outcome)),
    ...warnings,
    ...outcome.warnings.map((warning) => `warning: ${warning}`),
    `${outcome.filled} of ${outcome.cells} cells filled now; the others were filled before.`,
  ].join('\n');
}

async function runTransfer(run: string, options: TransferOptions, context: CliContext): Promise<CommandResult> {
  const folder = await openRunFolder(run, options.runsDir);
  const targets = await loadTransferTargets(options.targets);
  announceStudy(`transfer of ${folder.name} to ${targets.map(({ name }) => name).join(', ')}`, folder.path, context);
  const { outcome, report, pagePath } = await transferCampaign(
    folder,
    {
      targets,
      attackers: options.attacker,
      again: options.again === true,
      ...(options.attacks === undefined ? {} : { attacks: options.attacks }),
    },
    callsIo(context, options),
  );
  const text = `${transferText(report, outcome)}\nReport to read in a browser: ${pagePath}`;
  return { text, json: { run: folder.name, ...outcome, transfer: report.transfer } };
}

const collect = (value: string, earlier: readonly string[]): readonly string[] => [...earlier, value];

/** Adds `floodgate transfer`. */
export function registerTransferCommand(program: Command, context: CliContext): void {
  const command = program.command('transfer').description(COMMAND_WORDS.transfer);
  addCallOptions(addRunsOption(command))
    .argument('<run>', 'name or path of the run')
    .option('--targets <file or model>', 'what to attack; may be repeated', collect, [] as readonly string[])
    .option(
      '--attacker <name>',
      'only its attacks; may be repeated (default: all evaluated)',
      collect,
      [] as readonly string[],
    )
    .option('--attacks <count>', 'at most so many of each attacker (default: all stored)', parsePositiveCount)
    .option('--again', 'measure again the targets that were measured otherwise under the same name')
    .addHelpText('after', EXAMPLES)
    .action(async (run: string, options: TransferOptions) =>
      printResult(context, await runTransfer(run, options, context)),
    );
}
