import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { runCampaign } from '../report/campaigns.ts';
import { parseConfig } from '../stages/campaign/config-load.ts';
import { admittedWorldSeed, openRunWorld } from '../stages/campaign/run-world.ts';
import type { Config } from '../stages/config/config.ts';
import { DEFAULT_LANGUAGE_WORLD } from '../worlds/language/language-spec.ts';
import { requireWorld, type World } from '../worlds/world.ts';
import { languageWorldOf, madeWorld } from '../worlds/world-registry.ts';
import { DEFAULT_WORLD } from '../worlds/world-spec.ts';
import { alignColumns, type CommandResult, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { describeLanguageWorld } from './language-world-text.ts';
import {
  addRunsOption,
  addSetOption,
  addWorldOptions,
  type RunsOptions,
  type SetOptions,
  type WorldOptions,
} from './options.ts';
import { campaignResult } from './run-command.ts';
import { announceRun, announceStudy } from './start-line.ts';

const percent = (value: number): string => `${(100 * value).toFixed(2)}%`;

function describeWorld({ spec, keys, keysInSeeds, truth }: World): CommandResult {
  const rows = keys.map(({ text, group, prior, leak }, i) => {
    const part = truth.keys[i];
    const share = part === undefined ? '-' : `${percent(part.share)} ± ${percent(part.error)}`;
    return [text, group, prior.toExponential(1), leak.toFixed(2), (part?.alarm ?? 0).toFixed(2), share];
  });
  const { exactRecall, exactSuccess, leakError, falseAlarms } = truth;
  const text = [
    alignColumns([['key', 'group', 'prior', 'leak', 'leak learned', 'share of the posterior'], ...rows]),
    '',
    `World ${spec.seed}: ${keys.length} keys, ${keysInSeeds} of them in the seeds. An exact sampler would find ${percent(exactRecall)} of them in 1,024 attacks, ${percent(exactSuccess)} of which succeed.`,
    `The target misses its leaks by ${leakError.toFixed(4)} on average; false alarms carry ${percent(falseAlarms.share)} ± ${percent(falseAlarms.error)} of the posterior.`,
    `Next: floodgate demo --world-seed ${spec.seed}`,
  ].join('\n');
  return { text, json: { spec, keys, keysInSeeds, truth } };
}

type ShownWorldOptions = WorldOptions & Partial<SetOptions>;

/** The config of a command whose run, where it has one, has the seed of its world. */
function configOf(yaml: string, what: string, worldSeed: number, options: ShownWorldOptions): Config {
  const { keys, noise, hardness, set = [] } = options;
  const world = [`seed=${worldSeed}`, `keys=${keys}`, `noise=${noise}`, `hardness=${hardness}`];
  return parseConfig(yaml, {
    fileName: what,
    folder: process.cwd(),
    overrides: [`seed=${worldSeed}`, ...world.map((each) => `world.${each}`), ...set],
  });
}

/** The config with the seed that the user chose, else with the first whose world is admitted. */
async function chosenConfig(
  yaml: string,
  what: string,
  options: ShownWorldOptions,
  context: CliContext,
): Promise<Config> {
  const config = (seed: number): Config => configOf(yaml, what, seed, options);
  return config(options.worldSeed ?? (await admittedWorldSeed(DEFAULT_WORLD.seed, config, ioOf(context))));
}

/** A language world takes minutes to measure: its seed is the one asked for, and a refused one is an error. */
function languageConfig({ worldSeed = DEFAULT_LANGUAGE_WORLD.seed, set = [] }: ShownWorldOptions): Config {
  return parseConfig('world: { kind: language }\n', {
    fileName: 'of the world',
    folder: process.cwd(),
    overrides: [`seed=${worldSeed}`, `world.seed=${worldSeed}`, ...set],
  });
}

/** Adds `floodgate world`. */
export function registerWorldCommand(program: Command, context: CliContext): void {
  const command = program.command('world').description(COMMAND_WORDS.world);
  addSetOption(addWorldOptions(command))
    .addOption(new Option('--kind <kind>', 'of the world').choices(['made', 'language']).default('made'))
    .addHelpText(
      'after',
      `
Examples:
  floodgate world --world-seed 105
  floodgate world --keys 24 --json
  floodgate world --kind language --world-seed 1 --set world.samples=8192`,
    )
    .action(async (options: ShownWorldOptions & { readonly kind: string }) => {
      const isLanguage = options.kind === 'language';
      const config = isLanguage
        ? languageConfig(options)
        : await chosenConfig('world: {}\n', 'of the world', options, context);
      const world = await openRunWorld(config, ioOf(context));
      const language = languageWorldOf(world);
      if (language !== undefined) printResult(context, describeLanguageWorld(language));
      else printResult(context, describeWorld(requireWorld(madeWorld(world), 'world')));
    });
}

/** The method in a synthetic world beside its rivals at equal calls, and beside an exact sampler. */
const DEMO = 'name: demo\nworld: {}\nattacker: { from: world }\nattackers: [sft, best-of-n, ppo, smoothing, exact]\n';

/** Adds `floodgate demo`. */
export function registerDemoCommand(program: Command, context: CliContext): void {
  addWorldOptions(addRunsOption(program.command('demo').description(COMMAND_WORDS.demo)))
    .addHelpText(
      'after',
      `
Everything is made on this machine, in two to four minutes on two cores: a small target that misbehaves on planted keys,
an attacker that looks for them, and the truth to compare with. Nothing is downloaded or sent.

Examples:
  floodgate demo
  floodgate demo --world-seed 105
  floodgate demo --keys 24 --noise 0.5 --json`,
    )
    .action(async ({ runsDir, ...world }: RunsOptions & WorldOptions) => {
      announceStudy('demo', resolve(runsDir), context, 'a synthetic world is opened, or made where it is new');
      const config = await chosenConfig(DEMO, 'of the demo', world, context);
      const options = { config, runsFolder: runsDir, name: 'demo', ifTaken: 'number' } as const;
      printResult(context, await campaignResult(await runCampaign(await announceRun(options, context), ioOf(context))));
    });
}
