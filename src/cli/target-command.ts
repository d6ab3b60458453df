import type { Command } from 'commander';
import { loadConfig } from '../stages/campaign/config-load.ts';
import { openConfigModels } from '../stages/campaign/run-models.ts';
import { planTarget } from '../targets/registry.ts';
import type { TargetAnswer } from '../targets/target.ts';
import { checkTarget, type TargetCheckResult } from '../trial/target-check.ts';
import { alignColumns, type CommandResult, moneyWords, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { addSetOption, type SetOptions } from './options.ts';
import { durationWords } from './terminal-progress.ts';

function answerText(answer: TargetAnswer): string {
  if (answer.kind !== 'text') return `${answer.kind}: ${answer.reason}`;
  return answer.text === '' ? '(an empty text)' : answer.text;
}

function tokensText({ usage: { tokens, isEstimated } }: TargetAnswer): string {
  return isEstimated === true ? `about ${tokens}, estimated: the target counts none` : String(tokens);
}

/** A check of a target, for a person. */
export function checkText(result: TargetCheckResult): string {
  const { kind, model, hosts, prompt, request, answer, ms, stopReason, abilities, thousandCalls } = result;
  const { seconds, tokens, atOnce, money, currency } = thousandCalls;
  const price = money === undefined ? '' : `, about ${moneyWords(money)} ${currency}`;
  const able = Object.entries(abilities).map(([name, ability]) => [name, ability.works ? 'yes' : `no: ${ability.why}`]);
  return [
    `Target: ${kind}, ${model}${hosts.length === 0 ? ', on this machine' : `, at ${hosts.join(', ')}`}`,
    '',
    ...(request === null ? [`Prompt: ${prompt}`] : ['Request:', ...request.split('\n').map((line) => `  ${line}`)]),
    'Answer:',
    ...answerText(answer)
      .split('\n')
      .map((line) => `  ${line}`),
    '',
    alignColumns([
      ['time', `${Math.round(ms)} ms`],
      ['tokens', tokensText(answer)],
      ['stop reason', stopReason ?? 'the target states none'],
      ...able,
      [
        '1,000 calls',
        `about ${durationWords(seconds * 1000)} with ${atOnce} at once, ${tokens.toLocaleString('en-US')} tokens of answers${price}`,
      ],
    ]),
    ...result.warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}

async function testTarget(file: string, { set }: SetOptions, context: CliContext): Promise<CommandResult> {
  const config = await loadConfig(file, set);
  const { host } = await openConfigModels(config, ioOf(context));
  const result = await checkTarget(await planTarget(config.target, host), config.target, context.signal, config.prices);
  return { text: checkText(result), json: result };
}

/** Adds `floodgate target test`. */
export function registerTargetCommand(program: Command, context: CliContext): void {
  const target = program.command('target').description(COMMAND_WORDS.target);
  addSetOption(
    target
      .command('test')
      .description('send one harmless prompt, and say what comes back, what works, and what 1,000 calls would take')
      .argument('<config>', 'config file'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate target test floodgate.yaml\n  floodgate target test floodgate.yaml --set target.concurrency=16 --json',
    )
    .action(async (file: string, options: SetOptions) =>
      printResult(context, await testTarget(file, options, context)),
    );
}
