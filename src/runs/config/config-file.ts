import { resolve } from 'node:path';
import type { Document, LineCounter, Node } from 'yaml';
import type { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import { yaml } from '../../base/yaml.ts';
import { listConfigKeys } from './config-keys.ts';
import { type ConfigProblem, MAX_PROBLEMS, problemsOfIssues } from './config-problems.ts';

/** Stops a wrong file (a database, a model) from being read as YAML. */
const MAX_CONFIG_BYTES = 256 * 1024;
/** Stops nested lists from exhausting the stack of the code that walks them; the schema itself has six levels. */
const MAX_CONFIG_DEPTH = 64;
/**
 * Stops a small text from becoming a huge tree: each token becomes a node of hundreds of bytes. A list of 10,000 words
 * has some 50,000 tokens.
 */
const MAX_CONFIG_TOKENS = 100_000;

/** Stops `--set a[99999999]=x` from making a list of that length: no list of a config has more entries than this. */
const MAX_LIST_INDEX = 999;

export interface ConfigText {
  readonly text: string;
  /** For messages. */
  readonly fileName: string;
  /** `a.b=value` each; the value is YAML. */
  readonly overrides?: readonly string[];
}

type Path = readonly (string | number)[];

interface Override {
  readonly text: string;
  readonly path: Path;
}

function failure(fileName: string, lines: readonly string[]): FloodgateError {
  const head = lines.length === 1 ? `config ${fileName}: ` : `config ${fileName}: ${lines.length} problems:\n  `;
  const more = lines.length < MAX_PROBLEMS ? '' : '\n  (only the first are listed)';
  return new FloodgateError('config', head + lines.join('\n  ') + more, {
    hint: 'floodgate config schema --markdown lists every key',
  });
}

/** `judges.evaluation[0].kind` or `judges.evaluation.0.kind` to path parts. */
function parsePath(text: string): Path {
  return text
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.')
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}

function applyOverride(document: Document, text: string): Override {
  const cut = text.indexOf('=');
  const path = parsePath(text.slice(0, cut));
  if (cut < 1 || path.includes(''))
    throw new FloodgateError('usage', `--set ${text}: got no key and value, expected the form a.b=value`);
  const index = path.find((part) => typeof part === 'number' && part > MAX_LIST_INDEX);
  if (index !== undefined)
    throw new FloodgateError('usage', `--set ${text}: got index ${index}, expected at most ${MAX_LIST_INDEX}`);
  try {
    document.setIn(path, document.createNode(yaml().parse(text.slice(cut + 1))));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new FloodgateError('usage', `--set ${text}: cannot be applied: ${reason}`, { cause });
  }
  return { text, path };
}

function isPrefix(a: Path, b: Path): boolean {
  return a.length <= b.length && a.every((part, i) => part === b[i]);
}

/**
 * The place of a problem: the `--set` that wrote it, or line and column; the nearest parent when the key is missing.
 */
function locate(
  problem: ConfigProblem,
  document: Document,
  lines: LineCounter,
  overrides: readonly Override[],
): string {
  const override = overrides.findLast(({ path }) => isPrefix(path, problem.path) || isPrefix(problem.path, path));
  if (override !== undefined) return `--set ${override.text}`;
  for (let length = problem.path.length; length > 0; length--) {
    const parent = document.getIn(problem.path.slice(0, length - 1), true) ?? document.contents;
    const last = problem.path[length - 1];
    const pair = yaml().isMap(parent) ? parent.items.find(({ key }) => String(key) === String(last)) : undefined;
    const value = document.getIn(problem.path.slice(0, length), true) as Node | undefined;
    const atKey = problem.isKey || length < problem.path.length || !value?.range;
    const range = atKey ? ((pair?.key as Node | undefined)?.range ?? value?.range) : value.range;
    if (range) {
      const { line, col } = lines.linePos(range[0]);
      return `line ${line}, column ${col}`;
    }
  }
  return 'line 1, column 1';
}

/** A model spec or path is relative only when it says so: `./x`, `../x`. */
export function resolveDotted(value: unknown, folder: string): unknown {
  if (typeof value === 'string') return /^\.\.?[/\\]/.test(value) ? resolve(folder, value) : value;
  if (Array.isArray(value)) return value.map((item) => resolveDotted(item, folder));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolveDotted(item, folder)]));
}

/** The format of a config: its schema, and the rules beside it. */
export interface ConfigFormat<Parsed> {
  readonly schema: z.ZodType<Parsed>;
  /** Fills in what depends on other keys, before the schema reads the value. */
  prepare(value: unknown): unknown;
  /** Rules between keys, which no single key's type can state. Returns what is broken. */
  check(config: Parsed): ConfigProblem[];
  /** Keys of earlier versions, dotted, with their present names. */
  readonly moved?: Readonly<Record<string, string>>;
}

/**
 * Returns the config in a YAML text with overrides applied and defaults filled in.
 * @throws FloodgateError `config` naming every problem at once, each with its place; `usage` for a malformed override.
 */
export function parseConfigText<Parsed>(
  { text, fileName, overrides: given = [] }: ConfigText,
  { schema, prepare, check, moved = {} }: ConfigFormat<Parsed>,
): Parsed {
  const lines = new (yaml().LineCounter)();
  const document = parseYaml(text, lines, fileName);
  if (document.errors.length > 0) throw failure(fileName, document.errors.slice(0, MAX_PROBLEMS).map(yamlProblem));
  const overrides = given.map((override) => applyOverride(document, override));
  const parsed = schema.safeParse(prepare(documentValue(document, fileName) ?? {}), { reportInput: true });
  const problems = parsed.success
    ? check(parsed.data)
    : problemsOfIssues(parsed.error.issues, listConfigKeys(schema), moved);
  if (problems.length > 0 || !parsed.success) {
    throw failure(
      fileName,
      problems.map((problem) => `${problem.message} (${locate(problem, document, lines, overrides)})`),
    );
  }
  return parsed.data;
}

function yamlProblem({ message, linePos }: Document['errors'][number]): string {
  const place = linePos?.[0] === undefined ? '' : ` (line ${linePos[0].line}, column ${linePos[0].col})`;
  return `${message.split(' at line ')[0]}${place}`;
}

function tooDeep(fileName: string): FloodgateError {
  return failure(fileName, [`nested too deep, expected at most ${MAX_CONFIG_DEPTH} levels`]);
}

/** Rejects, by its tokens alone, a text whose nodes would take hundreds of times its size. */
function checkTokens(text: string, fileName: string): void {
  let tokens = 0;
  let flowDepth = 0;
  let lineDepth = 0; // `- - -`: a list in a list in a list; `&a &b`, `!a !b`: an error each
  for (const token of new (yaml().Lexer)().lex(text)) {
    tokens++;
    if (token === '\n' || token === '\r\n') lineDepth = 0;
    else if (/^(?:[-?]$|[&!])/.test(token)) lineDepth++;
    if (token === '[' || token === '{') flowDepth++;
    else if (token === ']' || token === '}') flowDepth--;
    if (flowDepth > MAX_CONFIG_DEPTH || lineDepth > MAX_CONFIG_DEPTH) throw tooDeep(fileName);
    if (tokens > MAX_CONFIG_TOKENS) {
      throw failure(fileName, [`too large, got more than ${MAX_CONFIG_TOKENS} keys, values and marks`]);
    }
  }
}

/** Keys that occur twice in one map. The parser's own check compares each key with every other: minutes for 40,000. */
function repeatedKeys(document: Document, lines: LineCounter): string[] {
  const problems: string[] = [];
  yaml().visit(document, {
    Map: (_key, { items }) => {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        const name = yaml().isScalar(key) ? key.value : key;
        if (seen.has(name)) {
          const { line, col } = lines.linePos((key as Node).range?.[0] ?? 0);
          problems.push(
            `map keys must be unique, got ${String(name).slice(0, 60)} again (line ${line}, column ${col})`,
          );
        }
        seen.add(name);
      }
      return problems.length >= MAX_PROBLEMS ? yaml().visit.BREAK : undefined;
    },
  });
  return problems.slice(0, MAX_PROBLEMS);
}

/** The YAML parser and its nodes recurse once per level, so a deep text exhausts the stack. */
function parseYaml(text: string, lines: LineCounter, fileName: string): Document {
  checkTokens(text, fileName);
  try {
    const document = yaml().parseDocument(text, { lineCounter: lines, uniqueKeys: false });
    const repeated = document.errors.length > 0 ? [] : repeatedKeys(document, lines);
    if (repeated.length > 0) throw failure(fileName, repeated);
    return document;
  } catch (cause) {
    if (cause instanceof RangeError) throw tooDeep(fileName);
    throw cause;
  }
}

/** Also true of a list that contains itself, which an alias can make. */
function isTooDeep(value: unknown, around: readonly object[] = []): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (around.length >= MAX_CONFIG_DEPTH || around.includes(value)) return true;
  const inside = [...around, value];
  return Object.values(value).some((item) => isTooDeep(item, inside)); // aliases repeat little: maxAliasCount
}

function documentValue(document: Document, fileName: string): unknown {
  let value: unknown;
  try {
    value = document.toJS(); // refuses alias bombs by itself (maxAliasCount)
  } catch (cause) {
    if (cause instanceof RangeError) throw tooDeep(fileName);
    throw failure(fileName, [cause instanceof Error ? cause.message : String(cause)]);
  }
  if (isTooDeep(value)) throw tooDeep(fileName);
  return value;
}

/**
 * The text of a config file.
 * @throws FloodgateError `config` when it cannot be read, is too large or is not UTF-8.
 */
export async function readConfigText(path: string): Promise<string> {
  try {
    const tooLarge = (size: number) =>
      new FloodgateError(
        'config',
        `config ${path}: too large, got ${size} bytes, expected at most ${MAX_CONFIG_BYTES}`,
        { hint: 'is this the config file? floodgate init writes one to start from' },
      );
    const bytes = await readRegularFile(path, MAX_CONFIG_BYTES, tooLarge);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    const reason = cause instanceof TypeError || code === undefined ? 'not UTF-8 text' : code; // TypeError: the decoder's
    throw new FloodgateError('config', `config ${path}: cannot be read (${reason}), expected a YAML file`, {
      cause,
      hint: 'floodgate init writes one to start from',
    });
  }
}
