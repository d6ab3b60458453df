import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Argument, type Command } from 'commander';
import { packageFile } from '../../src/base/package-root.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { runChild, runVitest } from '../child-process.ts';
import { type Experiment, examples, LAB } from '../experiment.ts';

/** Imported by the scripts; they compute nothing of their own. */
const MODULES = ['encoding', 'fixture_tokenizers', 'reference_decoder', 'judge_asset'];

interface Script {
  readonly name: string;
  /** From the repository's root. */
  readonly path: string;
  /** First line of its docstring. */
  readonly summary: string;
}

/** The scripts of `lab/golden/` and of its folder `models/`, in the order of their names. */
export function goldenScripts(): Script[] {
  const files = ['lab/golden', 'lab/golden/models'].flatMap((folder) =>
    readdirSync(packageFile(folder))
      .filter((file) => file.endsWith('.py'))
      .map((file) => ({ name: basename(file, '.py'), path: `${folder}/${file}` })),
  );
  return files
    .filter(({ name }) => !MODULES.includes(name))
    .sort((a, b) => a.name.localeCompare(b.name))
    .map((file) => ({ ...file, summary: summaryOf(readFileSync(packageFile(file.path), 'utf8')) }));
}

function summaryOf(source: string): string {
  return (/"""(.*)/.exec(source)?.[1] ?? '').replace(/"""$/, '').trim();
}

/** Models that are compared with golden values here alone, since nobody may accept their licence for another. */
export const CHECKED_MODELS = ['gemma3-270m'];

function defineCheck(command: Command, context: CliContext): void {
  command
    .command('check')
    .description('opens such a model from the model cache and compares it with its golden values')
    .addArgument(new Argument('[models...]', 'only these').choices(CHECKED_MODELS))
    .addHelpText('after', examples('golden check gemma3-270m'))
    .action((models: readonly string[]) => runVitest({ name: 'golden', filters: models, env: {} }, context));
}

function listScripts(context: CliContext): void {
  const scripts = goldenScripts();
  const text = [
    'Independent Python implementations compute the values that the tests compare with.',
    'Each script overwrites its files under test/golden/; its header names the packages and versions it needs.',
    '',
    alignColumns([['script', 'values'], ...scripts.map(({ name, summary }) => [name, summary])]),
    '',
    `Models with a licence to be accepted are compared by ${LAB} golden check: ${CHECKED_MODELS.join(', ')}.`,
    'Formats of the files: lab/golden/README.md.',
  ].join('\n');
  printResult(context, { text, json: { scripts } });
}

async function runScript(script: Script, args: readonly string[], context: CliContext): Promise<void> {
  const command = process.env.FLOODGATE_PYTHON || (process.platform === 'win32' ? 'python' : 'python3');
  const hint = 'set FLOODGATE_PYTHON to the Python of a virtual environment with the packages of the script';
  await runChild({ name: script.name, command, args: [script.path, ...args], hint }, context);
  printResult(context, { text: `${script.name}: done`, json: { script: script.name } });
}

/** `npm run lab -- golden`. */
export const golden: Experiment = {
  name: 'golden',
  description: 'the Python scripts that make the golden values of the tests (lab/golden/README.md)',
  define: (command, context) => {
    const scripts = goldenScripts();
    defineCheck(command, context);
    return command
      .addArgument(new Argument('[script]', 'runs this script').choices(scripts.map(({ name }) => name)))
      .argument('[args...]', 'of the script')
      .addHelpText('after', examples('golden', 'golden adamw', 'golden minilm MODEL_FOLDER', 'golden check'))
      .action(async (name: string | undefined, args: readonly string[]) => {
        const script = scripts.find((each) => each.name === name);
        if (script === undefined) listScripts(context);
        else await runScript(script, args, context);
      });
  },
};
