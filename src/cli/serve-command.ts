import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { serveModel } from '../serve/serve.ts';
import { openServedAttacker, openServedExport, openServedModel, type ServedModel } from '../serve/served-model.ts';
import { stages } from '../stages/registry.ts';
import { printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { findNamedAttacker } from './named-attacker.ts';
import { addRunsOption, parsePort, parsePositiveCount, type RunsOptions } from './options.ts';

interface ServeCommandOptions extends RunsOptions {
  readonly stage?: string;
  readonly port: number;
  readonly tokenEnv?: string;
  readonly id?: string;
  readonly threads?: number;
}

const DEFAULT_PORT = 8899;
const TOKEN_BYTES = 24;
/** A token that somebody on this machine could guess protects nothing. */
const MIN_TOKEN_LENGTH = 8;

interface Token {
  readonly value: string;
  readonly isNew: boolean;
}

/** @throws FloodgateError `usage` when the variable holds no token that an HTTP header can carry. */
function readToken(variable: string | undefined): Token {
  if (variable === undefined) return { value: randomBytes(TOKEN_BYTES).toString('base64url'), isNew: true };
  const value = process.env[variable] ?? '';
  if (value.length >= MIN_TOKEN_LENGTH && /^[\x21-\x7e]+$/.test(value)) return { value, isNew: false };
  const expected = `at least ${MIN_TOKEN_LENGTH} visible ASCII characters`;
  const got = value === '' ? 'is not set' : `holds no token, expected ${expected}`;
  throw new FloodgateError('usage', `serve: the environment variable ${variable} ${got}`, {
    hint: `export ${variable}=..., or leave --token-env out to get a new token`,
  });
}

async function openServed(name: string, options: ServeCommandOptions, context: CliContext): Promise<ServedModel> {
  const { id, threads, runsDir, stage } = options;
  const named = id === undefined ? {} : { id };
  const found = await findNamedAttacker({ command: 'serve', name, stage }, runsDir);
  if (found?.kind === 'run') {
    if (threads !== undefined)
      throw new FloodgateError('usage', `serve ${name}: --threads is for models; a run has its own number of threads`);
    return openServedAttacker(found, ioOf(context), named);
  }
  const asked = { ...named, ...(threads === undefined ? {} : { threads }) };
  return found === undefined
    ? openServedModel(name, ioOf(context), asked)
    : openServedExport(found.folder, ioOf(context), asked);
}

async function serve(name: string, options: ServeCommandOptions, context: CliContext): Promise<void> {
  const token = readToken(options.tokenEnv);
  const model = await openServed(name, options, context);
  try {
    const log = (line: string): void => context.notify(line);
    const server = await serveModel(model, { port: options.port, token: token.value, log });
    const { url } = server;
    const lines = [
      `serving ${model.id} at ${url}`,
      token.isNew ? `token ${token.value}` : `token: the value of ${options.tokenEnv}`,
      'Ctrl-C stops it',
    ];
    const shown = token.isNew ? { token: token.value } : { tokenEnv: options.tokenEnv };
    printResult(context, { text: lines.join('\n'), json: { url, model: model.id, ...shown } });
    if (!context.signal.aborted) await once(context.signal, 'abort');
    await server.close();
  } finally {
    await model.close();
  }
}

/** Adds `floodgate serve`. */
export function registerServeCommand(program: Command, context: CliContext): void {
  const stage = new Option('--stage <name>', "stage of a run's attacker (default: the last one done)");
  addRunsOption(program.command('serve').description(COMMAND_WORDS.serve))
    .argument(
      '<model|run|attacker>',
      'a model as "floodgate models list" names it, a path, a run, or an imported attacker',
    )
    .addOption(stage.choices(stages.names()))
    .option('--port <number>', 'port on 127.0.0.1; 0 takes any free one', parsePort, DEFAULT_PORT)
    .option('--token-env <name>', 'environment variable with the bearer token (default: a new token is printed)')
    .option('--id <name>', 'name of the model that requests give')
    .option(
      '--threads <count>',
      'threads of a model (default: all cores) or an imported attacker (default: as its run)',
      parsePositiveCount,
    )
    .addHelpText(
      'after',
      `
A run or an imported attacker goes before a model of its name; run:NAME is always a run, attacker:NAME an imported
attacker. The folder of an exported attacker is served as it is, by its path. Nobody outside this machine reaches the server.

Examples:
  floodgate serve smollm2-135m-instruct
  floodgate serve first --stage smoothing --port 9000
  floodgate serve attacker:colleagues
  FLOODGATE_TOKEN=... floodgate serve first --token-env FLOODGATE_TOKEN`,
    )
    .action((name: string, options: ServeCommandOptions) => serve(name, options, context));
}
