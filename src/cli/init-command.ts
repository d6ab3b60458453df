import { access } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { type ListedModel, listModels } from '../models/sources/manage-models.ts';
import { testTarget } from '../stages/campaign/open-parts.ts';
import { type FoundEndpoint, findEndpoint } from '../targets/endpoint-probe.ts';
import type { TargetCheckResult } from '../trial/target-check.ts';
import { printResult, shellWord } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { judgesHere, judgesServed } from './init-judges.ts';
import { LOCAL_TEMPLATE, SEEDS_TEMPLATE, wireConfigText } from './init-template.ts';
import { checkText } from './target-command.ts';

interface InitOptions {
  readonly force?: boolean;
  readonly target?: string;
  readonly apiKeyEnv?: string;
  readonly header: Readonly<Record<string, string>>;
  readonly model?: string;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** The files of a new config. @throws FloodgateError `usage` when one is there already. */
async function newFiles(file: string, force: boolean) {
  const config = resolve(file);
  const seedsName = `${basename(config, extname(config))}-seeds.txt`;
  const seeds = join(dirname(config), seedsName);
  for (const path of [config, seeds]) {
    if (!force && (await exists(path)))
      throw new FloodgateError('usage', `init: ${path} exists already`, {
        hint: 'name another file, or --force to overwrite it',
      });
  }
  return { config, seeds, seedsName };
}

async function initialise(file: string, options: InitOptions, context: CliContext): Promise<void> {
  const { config, seeds, seedsName } = await newFiles(file, options.force ?? false);
  const { text, report, json, next } =
    options.target === undefined
      ? { text: LOCAL_TEMPLATE.replace('SEEDS', seedsName), report: '', json: {}, next: [] }
      : await configOfEndpoint(file, seedsName, { ...options, target: options.target }, context);
  await writeFileAtomically(seeds, (handle) => handle.writeFile(SEEDS_TEMPLATE));
  await writeFileAtomically(config, (handle) => handle.writeFile(text));
  const steps = [...next, `floodgate run ${shellWord(file)} --dry-run`];
  printResult(context, {
    text: [
      ...(report === '' ? [] : [report, '']),
      `wrote ${config}`,
      `wrote ${seeds}`,
      `next: ${steps.join('\n      ')}`,
    ].join('\n'),
    json: { config, seeds, ...json },
  });
}

/** Tries the found sections until one is answered. @throws FloodgateError of the first when none is. */
async function tryCandidates({ candidates }: FoundEndpoint, context: CliContext) {
  let first: unknown;
  for (const target of candidates) {
    try {
      return { target, check: await testTarget({ ...target }, ioOf(context)) };
    } catch (error) {
      if (!(error instanceof FloodgateError) || error.code !== 'target') throw error;
      first ??= error;
    }
  }
  throw first;
}

const NEEDED = ['smollm2-135m-instruct', 'all-minilm-l6-v2'];

function isHere({ state }: ListedModel): boolean {
  return state !== 'missing';
}

async function configOfEndpoint(
  file: string,
  seedsName: string,
  options: InitOptions & { readonly target: string },
  context: CliContext,
) {
  const { target: url, apiKeyEnv, header: headers, model } = options;
  const found = await findEndpoint({ url, apiKeyEnv, headers, model, signal: context.signal });
  const { target, check } = await tryCandidates(found, context);
  const models = await listModels(ioOf(context));
  const offered = [judgesHere(models), await judgesServed(found.served, context.signal)];
  const judges = offered.flatMap((each) => each.judges);
  const missing = NEEDED.filter((name) => !models.some((each) => each.name === name && isHere(each)));
  // Calls go into attacks, not into further answers to the same ones.
  const section = { ...target, responses: 1, decode: { temperature: 0.7, topP: 0.95, maxNewTokens: 64 } };
  const text = wireConfigText({ file, seedsName, found: found.found, target: section, check, judges });
  return {
    text,
    report: [reportText(found, check), ...offered.flatMap(({ report }) => report)].join('\n'),
    json: { found: found.found, requests: found.requests, target: section, judges, check },
    next: [
      `fill in "authorisation" in ${file}; put attacks that know your app into ${seedsName}`,
      ...(missing.length === 0 ? [] : [`floodgate models pull ${missing.join(' ')}`]),
    ],
  };
}

function reportText({ found, requests }: FoundEndpoint, check: TargetCheckResult): string {
  return `Found ${found}, after ${requests} harmless requests. Nothing else was contacted.\n\n${checkText(check)}`;
}

function parseHeader(text: string, earlier: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const [, name, variable] = /^([^=:\s]+)=([A-Za-z_][A-Za-z0-9_]*)$/.exec(text) ?? [];
  if (name === undefined || variable === undefined)
    throw new InvalidArgumentError('expected NAME=VARIABLE, with the name of an environment variable.');
  return { ...earlier, [name]: variable };
}

/** Adds `floodgate init`. */
export function registerInitCommand(program: Command, context: CliContext): void {
  program
    .command('init')
    .description(COMMAND_WORDS.init)
    .argument('[file]', 'config file to write', 'floodgate.yaml')
    .option('--target <url>', 'find out how this endpoint is asked, by harmless requests, and write a config for it')
    .option('--api-key-env <name>', 'environment variable that holds its key, sent as a bearer token')
    .option(
      '--header <name=variable>',
      'a header, with the environment variable of its value; may be repeated',
      parseHeader,
      {},
    )
    .option('--model <name>', 'the model to ask, where the server has several')
    .option('--force', 'overwrite what is there')
    .addHelpText(
      'after',
      '\nExamples:\n  floodgate init\n  floodgate init tests/chatbot.yaml\n  floodgate init --target http://127.0.0.1:3000/chat\n  floodgate init --target https://models.example/v1 --api-key-env MY_API_KEY',
    )
    .action((file: string, options: InitOptions) => initialise(file, options, context));
}
