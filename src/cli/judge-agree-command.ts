import type { Command } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { readRun } from '../report/run-overview.ts';
import { counted, measureText } from '../report/words/number-words.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import {
  type Disagreement,
  type JudgePair,
  type RunAgreement,
  runAgreement,
} from '../studies/calibration/run-agreement.ts';
import { alignColumns, type CommandResult, joinLines, printableWithin, printResult } from './command-output.ts';
import type { CliContext } from './context.ts';
import { addRunsOption, parseCount, type RunsOptions } from './options.ts';

interface AgreeOptions extends RunsOptions {
  readonly attacker?: string;
  readonly disagreements: number;
  readonly showAttacks?: true;
}

const TEXT_WIDTH = 160;

function headText(run: string, { attackers, answers, refused, judges }: RunAgreement): string {
  const lines = judges.map(({ name, scored, unscored }) => [
    name,
    String(scored),
    unscored === 0 ? '' : `${unscored} could not be scored`,
  ]);
  return [
    joinLines([
      `run ${run}: ${counted(answers, 'answer')} to the attacks of ${attackers.join(', ')}`,
      ...(refused === 0 ? [] : [`left out: ${counted(refused, 'refusal')} of the provider, read by no judge`]),
    ]),
    '',
    alignColumns([['judge', 'answers scored', ''], ...lines]),
  ].join('\n');
}

function pairText(pair: JudgePair, { disagreements: limit, showAttacks }: AgreeOptions): string {
  const { first, second, counts, excluded, agreement, kappa, disagreements } = pair;
  const shown = disagreements.slice(0, limit);
  const rows = shown.map(({ attacker, attack, answer, first: a, second: b }) => [
    attacker,
    String(attack),
    String(answer + 1),
    a.toFixed(3),
    b.toFixed(3),
  ]);
  const list = alignColumns([['attacker', 'attack', 'answer', `by ${first}`, `by ${second}`], ...rows]).split('\n');
  const texts = (each: Disagreement | undefined): string[] =>
    each === undefined || showAttacks === undefined
      ? []
      : [`    ${printableWithin(each.attackText, TEXT_WIDTH)}`, `    > ${printableWithin(each.text, TEXT_WIDTH)}`];
  return [
    '',
    joinLines([`${first} and ${second}`]),
    alignColumns([
      ['agreement', measureText(agreement, 3)],
      ['kappa', measureText(kappa, 3)],
      ['both unsafe', String(counts.both)],
      [`only ${first}`, String(counts.onlyFirst)],
      [`only ${second}`, String(counts.onlySecond)],
      ['both safe', String(counts.neither)],
      ...(excluded === 0 ? [] : [['without two scores', String(excluded)]]),
    ]),
    ...(shown.length === 0 ? [] : ['', list[0] as string]),
    ...shown.flatMap((each, i) => [list[i + 1] as string, ...texts(each)]),
    ...(disagreements.length > shown.length
      ? [`${disagreements.length - shown.length} more: --disagreements ${disagreements.length}`]
      : []),
  ].join('\n');
}

/** The disagreements as JSON: with their texts only where they were asked for. */
function disagreementsJson({ disagreements }: JudgePair, { disagreements: limit, showAttacks }: AgreeOptions) {
  return disagreements
    .slice(0, limit)
    .map(({ attackText, text, ...numbers }) =>
      showAttacks === undefined ? numbers : { ...numbers, attackText, responseText: text },
    );
}

function agreementResult(run: string, agreement: RunAgreement, options: AgreeOptions): CommandResult {
  const { pairs } = agreement;
  const isHidden = options.showAttacks === undefined && pairs.some(({ disagreements }) => disagreements.length > 0);
  return {
    text: [
      headText(run, agreement),
      ...pairs.map((pair) => pairText(pair, options)),
      ...(isHidden ? ['', 'texts are hidden: --show-attacks shows them'] : []),
    ].join('\n'),
    json: {
      run,
      ...agreement,
      pairs: pairs.map((pair) => ({
        ...pair,
        disagreementCount: pair.disagreements.length,
        disagreements: disagreementsJson(pair, options),
      })),
    },
  };
}

/** Adds `agree` to `floodgate judge`. */
export function registerAgreeCommand(judge: Command, context: CliContext): void {
  addRunsOption(
    judge
      .command('agree')
      .description('compare the judges of a run: agreement, kappa, and the answers that they decide differently')
      .argument('<run>', 'name or path of the run'),
  )
    .option('--attacker <name>', 'answers to the attacks of one evaluated attacker (default: all)')
    .option('--disagreements <count>', 'show so many for each pair, the largest differences first', parseCount, 10)
    .option('--show-attacks', 'show the attacks and answers of disagreements; they may be offensive or dangerous')
    .addHelpText(
      'after',
      `
Examples:
  floodgate judge agree first
  floodgate judge agree first --attacker gflownet --disagreements 20 --show-attacks`,
    )
    .action(async (run: string, options: AgreeOptions) => {
      const folder = await openRunFolder(run, options.runsDir);
      const { attacker } = options;
      const agreement = await readRun(folder, (_, store) =>
        store === undefined ? undefined : runAgreement(store, { run: folder.name, attacker }),
      );
      if (agreement === undefined)
        throw new FloodgateError('run', `judge agree: run ${folder.name} has measured nothing yet`);
      printResult(context, agreementResult(folder.name, agreement, options));
    });
}
