import { z } from 'zod';
import { append } from '../../base/long-lists.ts';
import { findSharedNames, judgeName } from '../../judges/judge-names.ts';
import { anyJudge, judgeKinds } from '../../judges/registry.ts';
import { objectiveKinds } from '../../learning/objectives/registry.ts';
import { type ConfigKey, listConfigKeys } from '../../runs/config/config-keys.ts';
import { type ConfigProblem, dottedPath } from '../../runs/config/config-problems.ts';
import { targetKinds, targetSchema } from '../../targets/registry.ts';
import '../../worlds/world-kinds.ts';
import { cellProblems } from '../config/cells-section.ts';
import { type Config, headShape, tailShape } from '../config/config.ts';
import { stages, stagesToTrain } from '../registry.ts';
import { problemAt } from '../stage.ts';

const judges = () =>
  z
    .strictObject({
      training: anyJudge('gives the reward'),
      evaluation: z
        .array(anyJudge())
        .min(1)
        .describe('measure the result; name at least one other than the training judge'),
    })
    .describe('models or rules that score an attack and its response with P(unsafe)');

const attackers = () =>
  z
    .array(z.enum(stages.names() as [string, ...string[]]))
    .min(1)
    .default(['sft', 'gflownet', 'smoothing'])
    .describe('attackers to train and measure; what one of them needs (such as sft) is trained too');

/** The sections that stages own, each once, in the order of the stages. */
function stageShape(): z.ZodRawShape {
  const sections = new Map(stages.all().flatMap((stage) => stage.sections.map(({ key, schema }) => [key, schema])));
  return Object.fromEntries(sections);
}

function buildSchema(): z.ZodType<Config> {
  const { world, encoder, ...rest } = tailShape;
  const schema = z.strictObject({
    ...headShape,
    target: targetSchema(),
    judges: judges(),
    world,
    attackers: attackers(),
    encoder,
    ...stageShape(),
    ...rest,
  });
  return schema as unknown as z.ZodType<Config>;
}

let built: { readonly schema: z.ZodType<Config>; readonly version: string } | undefined;

/**
 * The whole config: defaults from the paper; every object refuses unknown keys. It is rebuilt when a target, judge,
 * objective or stage was defined since.
 */
export function configSchema(): z.ZodType<Config> {
  const version = [targetKinds, judgeKinds, objectiveKinds, stages].map((registry) => registry.version).join();
  if (built?.version !== version) built = { schema: buildSchema(), version };
  return built.schema;
}

/** Keys of version 0.1, with their present names. */
export const MOVED_KEYS: Readonly<Record<string, string>> = {
  'gflownet.beta': 'reward.beta',
  'gflownet.gamma': 'reward.gamma',
  'gflownet.temperature': 'reward.temperature',
  'gflownet.unsafeFloor': 'reward.unsafeFloor',
  'gflownet.fluency': 'reward.fluency',
  'gflownet.truncationPenalty': 'reward.truncationPenalty',
  'gflownet.collapseAlarm': 'watch.collapseAlarm',
  'gflownet.earlyStop': 'watch.earlyStop',
  'gflownet.evaluation': 'watch',
};

/** Two judges of one name would have one row of verdicts between them. */
function judgeNameProblems({ training, evaluation }: Config['judges']): ConfigProblem[] {
  const judges = [training, ...evaluation].map((config) => ({ name: judgeName(config), config }));
  const pathOf = (i: number): (string | number)[] =>
    i === 0 ? ['judges', 'training'] : ['judges', 'evaluation', i - 1];
  return findSharedNames(judges).map(({ name, first, second }) => {
    const what = `got the name ${name}, which ${dottedPath(pathOf(first))} has with other settings`;
    const message = `${dottedPath(pathOf(second))}: ${what}, expected a name of its own (key name, here or of a judge inside)`;
    return { path: pathOf(second), isKey: false, message };
  });
}

/** Keys that do not go with cells, or with none. */
function cellLimits({ attacker, world, seeds }: Config): ConfigProblem[] {
  if (attacker.cells === undefined) {
    if (seeds.cellColumn === undefined) return [];
    return [problemAt('seeds.cellColumn', `got ${seeds.cellColumn}, expected attacker.cells beside it`)];
  }
  if (world === undefined) return [];
  return [
    problemAt('attacker.cells', 'a synthetic world has one prompt, whose truth is known: leave cells or world out'),
  ];
}

/** Rules between keys, which no single key's type can state. Returns what is broken. */
export function checkConfigRules(config: Config): ConfigProblem[] {
  const { attacker, target } = config;
  const problems: ConfigProblem[] = [];
  if (attacker.minTokens > attacker.maxTokens) {
    const what = `got ${attacker.minTokens}, expected at most attacker.maxTokens (${attacker.maxTokens})`;
    problems.push(problemAt('attacker.minTokens', what));
  }
  append(problems, cellProblems(attacker));
  append(problems, cellLimits(config));
  const wanted = stagesToTrain(config.attackers);
  const checked = stages.all().flatMap((stage) => stage.check?.(config, wanted.includes(stage)) ?? []);
  // Stages that share a section find the same problem.
  append(problems, new Map(checked.map((problem) => [problem.message, problem])).values());
  if (target.responses > 1 && target.decode.temperature === 0) {
    const what = `got ${target.responses}, expected 1: at temperature 0 every response is the same`;
    problems.push(problemAt('target.responses', what));
  }
  return [...problems, ...judgeNameProblems(config.judges)];
}

/** Returns the JSON Schema (draft 2020-12) of a config file. */
export function configJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configSchema(), { io: 'input' }) as Record<string, unknown>;
}

/** Keys listed elsewhere already: an evaluation judge has the keys of the training judge. */
const REPEATED_PREFIX = 'judges.evaluation[].';

function defaultCell({ defaultText, optional }: ConfigKey): string {
  if (defaultText !== undefined) return `\`${defaultText}\``;
  return optional ? '' : '**required**';
}

const escapeCell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** Returns the Markdown table of every config key, as in docs/config.md. */
export function configReference(): string {
  const rows = listConfigKeys(configSchema())
    .filter(({ path }) => !path.startsWith(REPEATED_PREFIX))
    .map((key) => [`\`${key.path}\``, key.type, defaultCell(key), key.description ?? ''].map(escapeCell).join(' | '));
  return ['| key | type | default | meaning |', '|---|---|---|---|', ...rows.map((row) => `| ${row} |`)].join('\n');
}
