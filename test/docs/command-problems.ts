import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LOCAL_TEMPLATE } from '../../src/cli/init-template.ts';
import { findCatalogueEntry } from '../../src/models/sources/catalogue.ts';
import { parseModelSpec } from '../../src/models/sources/model-spec.ts';
import { loadConfig, parseConfig } from '../../src/stages/campaign/config-load.ts';
import { stages } from '../../src/stages/registry.ts';
import { loadTransferTargets } from '../../src/studies/transfer/transfer-config.ts';
import { parseBudget } from '../../src/trial/budget.ts';
import { root } from './doc-blocks.ts';
import { type ParsedCommand, type ProgramName, parseCommand } from './parsed-command.ts';
import type { ShellCommand } from './shell-commands.ts';

/** Other people's programs in our documents. Their command lines are not checked; each is used somewhere. */
export const OTHER_PROGRAMS = ['curl', 'cut', 'export', 'head', 'inspect', 'promptfoo', 'python'];

interface PackageFile {
  readonly version: string;
  readonly files: readonly string[];
  readonly scripts: Readonly<Record<string, string>>;
}

const packageFile = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as PackageFile;

/** The rest of a word that begins in a folder of ours. */
const OUR_PATH = /^(?:\.\/)?((?:assets|bench|docs|examples|lab|scripts|site|src|test)\/.+)$/;

/** Where an installed package is, for a reader. */
const INSTALLED = 'node_modules/floodgate/';

/** @returns whether a file or folder of the repository has this path, or begins with it, as filters of vitest may */
function isOurs(path: string, mayBegin: boolean): boolean {
  if (existsSync(join(root, path))) return true;
  const cut = path.lastIndexOf('/');
  const folder = join(root, path.slice(0, cut));
  if (!mayBegin || !existsSync(folder)) return false;
  return readdirSync(folder).some((name) => name.startsWith(path.slice(cut + 1)));
}

function pathProblems(words: readonly string[], mayBegin = false): string[] {
  return words.flatMap((word) => {
    const installed = word.startsWith(INSTALLED) ? word.slice(INSTALLED.length) : undefined;
    const path = installed ?? OUR_PATH.exec(word)?.[1];
    if (path === undefined) return [];
    if (!isOurs(path, mayBegin)) return [`${word}: the repository has no such file`];
    const isPacked = packageFile.files.some((each) => path === each || path.startsWith(`${each}/`));
    return installed === undefined || isPacked ? [] : [`${word}: the package leaves it out`];
  });
}

const messageOf = async (work: () => unknown): Promise<string[]> => {
  try {
    await work();
    return [];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
};

/** Any endpoint: what a command that asks one may change. */
const ENDPOINT = 'target={ kind: openai, baseUrl: http://127.0.0.1:8000/v1, model: m }';

/** The config that `--set` changes: that of the command where the repository has it, else the one that `init` writes. */
function loadOverridden({ path, arguments: [file], options }: ParsedCommand): unknown {
  const set = options.set as readonly string[];
  if (typeof file === 'string' && OUR_PATH.test(file)) return loadConfig(join(root, file), set);
  const text = path[0] === 'world' ? `world: { kind: ${options.kind} }\n` : LOCAL_TEMPLATE;
  const overrides = path[0] === 'target' ? [ENDPOINT, ...set] : set;
  return parseConfig(text, { fileName: 'floodgate.yaml', folder: root, overrides });
}

/** Targets as `floodgate transfer` reads them; a reader's own file is not there. */
async function loadTargets(given: readonly string[]): Promise<void> {
  const known = given.filter((each) => !/\.ya?ml$/.test(each) || OUR_PATH.test(each));
  if (known.length > 0) await loadTransferTargets(known);
}

/** Options of floodgate that name stages: one, or a list. */
const STAGE_OPTIONS = ['stage', 'attacker', 'attackers', 'data', 'retrain'];

function stageProblems({ options }: ParsedCommand): string[] {
  const named = STAGE_OPTIONS.flatMap((option) => [options[option] ?? []].flat());
  const unknown = named.filter(
    (name) => typeof name === 'string' && !stages.names().includes(name.split(':').at(-1) ?? ''),
  );
  return unknown.map((name) => `${name}: there is no such stage`);
}

function modelProblems({ path, arguments: [named] }: ParsedCommand): string[] {
  if (path[0] !== 'models' || named === undefined) return [];
  return [named]
    .flat()
    .map(String)
    .filter((name) => parseModelSpec(name).kind === 'name' && findCatalogueEntry(name) === undefined)
    .map((name) => `${name}: the catalogue has no such model`);
}

/** Checks what an action reads before it begins to work. */
async function valueProblems(parsed: ParsedCommand): Promise<string[]> {
  const { set, budget, targets } = parsed.options;
  return [
    ...(Array.isArray(set) ? await messageOf(() => loadOverridden(parsed)) : []),
    ...(Array.isArray(budget) ? await messageOf(() => parseBudget(budget)) : []),
    ...(Array.isArray(targets) ? await messageOf(() => loadTargets(targets)) : []),
    ...stageProblems(parsed),
    ...modelProblems(parsed),
  ];
}

async function programProblems(program: ProgramName, args: readonly string[]): Promise<string[]> {
  const parsed = await parseCommand(program, args);
  if (typeof parsed === 'string') return [parsed];
  return program === 'floodgate' ? valueProblems(parsed) : [];
}

async function npmProblems([command = '', ...args]: readonly string[]): Promise<string[]> {
  const tarball = args.map((each) => /floodgate-(\d.*)\.tgz$/.exec(each)?.[1]).find((version) => version !== undefined);
  if (tarball !== undefined && tarball !== packageFile.version) return [`npm: ${tarball} is not our version`];
  if (['ci', 'install', 'pack'].includes(command)) {
    const prefix = args[args.indexOf('--prefix') + 1] ?? '';
    const isThere = !args.includes('--prefix') || existsSync(join(root, prefix, 'package.json'));
    return isThere ? [] : [`npm --prefix ${prefix}: there is no package`];
  }
  const [script = '', ...rest] = command === 'run' ? args : [command, ...args];
  if (packageFile.scripts[script] === undefined) return [`npm run ${script}: there is no such script`];
  return script === 'lab' && rest.length > 0
    ? programProblems(
        'lab',
        rest.filter((_, i) => i > 0 || rest[0] !== '--'),
      )
    : [];
}

/** Each variable that a command of tests gets is read by one of those tests. */
function variableProblems(variables: readonly string[], filters: readonly string[]): string[] {
  const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .map((name) => `test/${name}`)
    .filter((name) => name.endsWith('.ts') && filters.some((filter) => name.includes(filter)))
    .map((name) => readFileSync(join(root, name), 'utf8'));
  return variables
    .filter((variable) => !tests.some((text) => new RegExp(`\\b${variable}\\b`).test(text)))
    .map((variable) => `${variable}: none of these tests reads it`);
}

function vitestProblems([command = '', ...filters]: readonly string[], variables: readonly string[]): string[] {
  if (command !== 'run') return [`npx vitest ${command}: it does not end`];
  const found = filters.filter((filter) => !OUR_PATH.test(filter)).map((filter) => `${filter}: no test has this path`);
  return [...found, ...pathProblems(filters, true), ...variableProblems(variables, filters)];
}

/** Returns the problems of a command in a document, a line each; programs that are not ours are let through. */
export async function commandProblems({ words, variables }: ShellCommand): Promise<string[]> {
  const [program = '', first = '', ...rest] = words;
  const args = words.slice(1);
  if (words.length === 0 || OTHER_PROGRAMS.includes(program)) return [];
  if (program === 'npx' && first === 'vitest') return vitestProblems(rest, variables);
  const found = pathProblems(args);
  if (program === 'npx' && first === 'floodgate') return [...found, ...(await programProblems('floodgate', rest))];
  if (program === 'floodgate') return [...found, ...(await programProblems('floodgate', args))];
  if (program === 'npm') return [...found, ...(await npmProblems(args))];
  if (program === 'node' && first === 'dist/cli/main.js')
    return [...found, ...(await programProblems('floodgate', rest))];
  if (program !== 'node') return [`${program}: neither ours nor in OTHER_PROGRAMS`];
  const isFile = OUR_PATH.test(first) || first.startsWith(INSTALLED);
  return isFile ? found : [`node ${first}: it is no file of ours`];
}
