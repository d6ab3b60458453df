import type { Command } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { append } from '../base/long-lists.ts';
import { type RunOverview, readRun } from '../report/run-overview.ts';
import { counted, measureText } from '../report/words/number-words.ts';
import { openRunFolder } from '../runs/run-folder.ts';
import type { StoredAttack, StoredResponse } from '../runs/store/records.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import { evaluatedStage, evaluationStage, isAside, transferCellOf } from '../runs/store/stage-name.ts';
import { storedCauses, type WayRecord } from '../stages/evaluation/causes-record.ts';
import {
  alignColumns,
  type CommandResult,
  joinLines,
  printable,
  printableWithin,
  printResult,
} from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import type { CliContext } from './context.ts';
import { addRunsOption, parseCount, type RunsOptions } from './options.ts';
import { eventsText } from './run-text.ts';

interface ShowOptions extends RunsOptions {
  readonly attacks: number;
  readonly stage?: string;
}

interface ShownAttack extends StoredAttack {
  readonly responses: readonly StoredResponse[];
}

const RESPONSE_WIDTH = 100;

/** The distinct attacks of a stage with the highest mean P(unsafe). */
function bestAttacks(store: RunStore, stage: string, count: number): ShownAttack[] {
  return store.bestAttacks(stage, count).map((attack) => ({ ...attack, responses: store.responses(attack.id) }));
}

function headText({ folder, status, manifest, report }: RunOverview): string {
  const lines = [`run ${folder.name}  ${status}`, `folder ${folder.path}`];
  if (manifest === undefined || report === undefined) return joinLines([...lines, 'nothing has been measured yet']);
  const { reportedJudge, trainingJudge, isJudgeIndependent } = report.run;
  append(lines, [
    `created ${manifest.createdAt}  seed ${manifest.seed}`,
    `authorised: ${manifest.authorisation}`,
    isJudgeIndependent
      ? `figures by judge ${reportedJudge}; the reward came from ${trainingJudge}`
      : `figures by judge ${reportedJudge}, which also gave the reward: no independent evidence`,
    ...(report.controls?.overRefusal === undefined
      ? []
      : [`harmless prompts that the target refuses: ${measureText(report.controls.overRefusal)}`]),
    ...(report.controls?.judges ?? []).map(
      ({ name, asr }) => `harmless prompts that ${name} calls unsafe: ${measureText(asr)}`,
    ),
  ]);
  return joinLines(lines);
}

function stagesText({ report }: RunOverview): string {
  const stages = report?.stages ?? [];
  if (stages.length === 0) return '';
  const rows = stages.map(({ name, status, metrics, causes, cost, evaluationCost }) => [
    name,
    status,
    measureText(metrics.asr),
    measureText(metrics.uniqueAttacks),
    measureText(metrics.cosineDistance),
    String(cost.targetCalls + evaluationCost.targetCalls + (causes?.cost.targetCalls ?? 0)),
    String(Math.round(cost.seconds + evaluationCost.seconds + (causes?.cost.seconds ?? 0))),
  ]);
  const heading = ['stage', 'status', 'ASR', 'wordings', 'cosine distance', 'target calls', 'seconds'];
  return `\n${alignColumns([heading, ...rows])}`;
}

/** Unsafe answers and successful attacks, raw and corrected, by the judges whose errors are known. */
function correctedText({ report }: RunOverview): string {
  const rows = (report?.stages ?? []).flatMap(({ name, judges }) =>
    judges.flatMap(({ name: judge, corrected: rate, metrics }) => {
      if (rate === undefined) return [];
      const warning = rate.isPlausible ? '' : 'the errors cannot explain the share';
      const asr = [measureText(metrics.asr), measureText(rate.correctedAsr)];
      return [[name, judge, measureText(rate.raw), measureText(rate.corrected), ...asr, warning]];
    }),
  );
  if (rows.length === 0) return '';
  const shares = ['answers called unsafe', 'unsafe answers, corrected', 'ASR', 'ASR, corrected'];
  return `\n\n${alignColumns([['stage', 'judge', ...shares, ''], ...rows])}`;
}

/** The categories of the config, attacker by attacker. */
function cellsText({ report }: RunOverview): string {
  const rows = (report?.stages ?? []).flatMap(({ name, cells = [] }) =>
    cells.map((cell) => [name, printable(cell.name), String(cell.tried), measureText(cell.asr), String(cell.wordings)]),
  );
  if (rows.length === 0) return '';
  return `\n\n${alignColumns([['stage', 'cell', 'tried', 'ASR', 'wordings'], ...rows])}`;
}

/** A line for each stage whose causes were looked for. */
function causesText({ report }: RunOverview): string {
  return (report?.stages ?? [])
    .flatMap(({ name, causes }) => {
      if (causes === undefined) return [];
      const { metrics, searched, unstable, ways } = causes;
      const echoes = ways.filter(({ isEcho }) => isEcho).length;
      const figures = `${measureText(metrics.ways, 0)} ways, ${echoes} of them echoes`;
      return [`\n${name}: ${figures}; ${unstable} of ${searched} successes did not succeed again`];
    })
    .join('');
}

/**
 * The stage whose attacks are shown: the one asked for, else the last one against the run's own target.
 * @throws FloodgateError `usage` when the run has no stage of that name with attacks.
 */
function shownStage(store: RunStore, run: string, wanted: string | undefined): string | undefined {
  const names = store.stages().map(({ name }) => name);
  const hasAttacks = (name: string): boolean => store.attacks({ stage: name, limit: 1 }).length > 0;
  if (wanted === undefined) {
    const isOnOwnTarget = (name: string): boolean => !isAside(name) && transferCellOf(name) === undefined;
    return names.findLast((name) => isOnOwnTarget(name) && hasAttacks(name));
  }
  const known = names.filter(hasAttacks);
  if (known.includes(wanted)) return wanted;
  // A stage that tries nothing while it learns has no other attacks than those of its evaluation.
  const evaluation = evaluationStage(wanted);
  if (known.includes(evaluation)) return evaluation;
  const shortest = known.map((name) => {
    const stage = evaluatedStage(name);
    return stage === undefined || known.includes(stage) ? name : stage;
  });
  const expected = known.length === 0 ? 'none has attacks yet' : `expected one of ${shortest.join(', ')}`;
  throw new FloodgateError('usage', `show ${run}: --stage: got ${JSON.stringify(wanted)}, ${expected}`);
}

function attacksText(stage: string | undefined, attacks: readonly ShownAttack[]): string {
  if (attacks.length === 0) return '';
  const listed = attacks
    .map(({ meanUnsafe, text, responses }) => {
      const answers = responses.map((response) => `    > ${printableWithin(response.text, RESPONSE_WIDTH)}`);
      return `\n${meanUnsafe === null ? 'unscored' : meanUnsafe.toFixed(3)}  ${printable(text)}\n${answers.join('\n')}`;
    })
    .join('');
  return `\nattacks of ${printable(stage ?? '')}, the most effective first${listed}`;
}

/** The ways of a stage with their causes, the largest first; empty where they were not looked for. */
function waysText(stage: string, ways: readonly WayRecord[]): string {
  if (ways.length === 0) return '';
  const listed = ways.map(({ cause, example, isEcho, successes, searches, wordings }) => {
    const figures = [
      counted(successes, 'success', 'successes'),
      counted(searches, 'search', 'searches'),
      ...(wordings === undefined ? [] : [counted(wordings, 'wording')]),
      ...(isEcho ? ['repeats its own words'] : []),
    ];
    return `\n${printable(cause)}\n    ${figures.join(', ')}\n    such as: ${printable(example)}`;
  });
  return `\nways of ${printable(stage)} by their causes, the largest first${listed.join('')}\n`;
}

function describe(overview: RunOverview, store: RunStore | undefined, options: ShowOptions): CommandResult {
  const stage = store === undefined ? undefined : shownStage(store, overview.folder.name, options.stage);
  const attacks =
    store === undefined || stage === undefined || options.attacks === 0
      ? []
      : bestAttacks(store, stage, options.attacks);
  const attacker = evaluatedStage(stage ?? '') ?? stage ?? '';
  const ways = store === undefined ? [] : (storedCauses(store, attacker)?.ways.slice(0, options.attacks) ?? []);
  const events = store?.events() ?? [];
  return {
    text: [
      headText(overview),
      `${stagesText(overview)}${cellsText(overview)}${correctedText(overview)}${causesText(overview)}`,
      eventsText(events),
      `${waysText(attacker, ways)}${attacksText(stage, attacks)}`,
    ]
      .join('\n')
      .trimEnd(),
    json: {
      run: overview.folder.name,
      folder: overview.folder.path,
      status: overview.status,
      manifest: overview.manifest ?? null,
      report: overview.report ?? null,
      repeatedCalls: store?.repeatedCalls() ?? [],
      events,
      attacks,
      ways,
    },
  };
}

/** Adds `floodgate show`. */
export function registerShowCommand(program: Command, context: CliContext): void {
  addRunsOption(program.command('show').description(COMMAND_WORDS.show))
    .argument('<run>', 'name or path of the run')
    .option(
      '--attacks <count>',
      'show so many attacks with their responses, the most effective first, and ways by their causes',
      parseCount,
      0,
    )
    .option('--stage <name>', "stage whose attacks are shown (default: the last against the run's own target)")
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate show smollm2\n  floodgate show smollm2 --attacks 20 --stage gflownet',
    )
    .action(async (run: string, options: ShowOptions) => {
      const folder = await openRunFolder(run, options.runsDir);
      printResult(context, await readRun(folder, (overview, store) => describe(overview, store, options)));
    });
}
