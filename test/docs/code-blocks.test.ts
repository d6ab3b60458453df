import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import '../../examples/extending/crossover-stage.mjs';
import '../../examples/extending/huber-vargrad.mjs';
import '../../examples/extending/parrot-target.mjs';
import '../../examples/extending/shouting-judge.mjs';
import { openJudge, randomStream } from 'floodgate';
import { loadAttacker } from '../../lab/benchmark/load-attacker.ts';
import { commandProblems, OTHER_PROGRAMS } from './command-problems.ts';
import { exampleCommands, inlineMentions } from './commands-elsewhere.ts';
import { isExportedRow, jsonProblems, xmlProblems } from './data-problems.ts';
import { blocksOf, type DocBlock, readDocuments } from './doc-blocks.ts';
import { helpTexts } from './parsed-command.ts';
import { shellCommands } from './shell-commands.ts';
import { type BlockModules, writeModules } from './typed-blocks.ts';
import { yamlProblems } from './yaml-problems.ts';

/** The languages of our blocks. `output`: shown only. `python`: no test opens Python. */
const LANGUAGES: Readonly<Record<string, 'shell' | 'yaml' | 'module' | 'json' | 'xml' | 'output' | 'unchecked'>> = {
  sh: 'shell',
  yaml: 'yaml',
  js: 'module',
  ts: 'module',
  json: 'json',
  xml: 'xml',
  text: 'output',
  '': 'output',
  python: 'unchecked',
};

const documents = readDocuments();
const blocks = [...documents].flatMap(([name, markdown]) => blocksOf(name, markdown));
const of = (...kinds: readonly string[]): DocBlock[] =>
  blocks.filter(({ language }) => kinds.includes(LANGUAGES[language] ?? 'unknown'));

/** Errors that the compiler must find. */
const WRONG_MODULES = `
\`\`\`js
import { loadConfgi } from 'floodgate';
\`\`\`
\`\`\`js
import { loadConfig } from 'floodgate';
await loadConfig(1);
\`\`\`
\`\`\`json
{ "causeSha": "1a" }
\`\`\`
`;

let modules: BlockModules;
/** The compiler works while the other tests run. */
let typeErrors: Promise<string[]>;
beforeAll(() => {
  const rows = of('json').filter(({ text }) => isExportedRow(text));
  modules = writeModules([...of('module'), ...rows, ...blocksOf('wrong.md', WRONG_MODULES)]);
  typeErrors = modules.typeErrors();
});
afterAll(async () => {
  await typeErrors;
  modules.remove();
});

async function shellProblems(text: string): Promise<string[]> {
  const problems = await Promise.all(
    shellCommands(text).map(async (command) =>
      (await commandProblems(command)).map((problem) => `line ${command.line}: ${problem}`),
    ),
  );
  return problems.flat();
}

describe('the blocks of the documents', () => {
  it('are of the languages that this test knows, all of which are used', () => {
    const unknown = blocks.filter(({ language }) => LANGUAGES[language] === undefined);
    expect(unknown.map(({ place, language }) => `${place}: ${language}`)).toEqual([]);
    expect(Object.keys(LANGUAGES).filter((name) => !blocks.some(({ language }) => language === name))).toEqual([]);
    expect(blocks.length).toBeGreaterThan(100);
  });

  it('name a language where they hold a command', () => {
    const commands = blocks.filter(
      ({ language, text }) => language === '' && /^(?:floodgate|np[mx]|node) /m.test(text),
    );
    expect(commands.map(({ place }) => place)).toEqual([]);
  });

  it('are read with their place; an open fence is an error', () => {
    const [inner] = blocksOf('a.md', '# A\n\n````md\n```sh\nls\n```\n````\n');
    expect(inner).toMatchObject({ place: 'a.md:4', language: 'md', text: '```sh\nls\n```' });
    expect(() => blocksOf('a.md', '```sh\nls\n')).toThrow('a.md:1: the fence is never closed');
  });
});

describe('shell blocks', () => {
  it.each(of('shell'))('$place: the programs take every line', async ({ text }) => {
    expect(await shellProblems(text)).toEqual([]);
  });

  it('name each program of others that is let through', () => {
    const used = new Set(of('shell').flatMap(({ text }) => shellCommands(text).map(({ words }) => words[0] ?? '')));
    expect(OTHER_PROGRAMS.filter((program) => !used.has(program))).toEqual([]);
  });

  it('are split into commands as a shell does', () => {
    const text = [
      "A=1 B=2 npm run lab -- search --set 'a=[b, c]' \\",
      '  --name "x \\"y\\" $s" # a comment; no command',
      'for s in 4 5; do floodgate show r$s --json > out.json; done && echo a#b | head -2 &',
    ].join('\n');
    expect(shellCommands(text)).toEqual([
      {
        line: 1,
        variables: ['A', 'B'],
        words: ['npm', 'run', 'lab', '--', 'search', '--set', 'a=[b, c]', '--name', 'x "y" $s'],
      },
      { line: 3, variables: [], words: ['floodgate', 'show', 'r4', '--json'] },
      { line: 3, variables: [], words: ['echo', 'a#b'] },
      { line: 3, variables: [], words: ['head', '-2'] },
    ]);
    for (const unreadable of ['echo $(ls)', "echo 'a", 'if true; then ls; fi']) {
      expect(() => shellCommands(unreadable)).toThrow('cannot be read');
    }
  });

  it.each([
    ['floodgate rnu a.yaml', "unknown command 'rnu'"],
    ['npx floodgate run', "missing required argument 'config'"],
    ['node dist/cli/main.js run a.yaml --sede 1', "unknown option '--sede'"],
    ['floodgate export a --format cvs', "argument 'cvs' is invalid"],
    ['floodgate tune a --set tuning.epoch=3', 'did you mean tuning.epochs?'],
    ['floodgate run examples/demo.yaml --set sft.updates=1', 'sft.warmupUpdates: got 2'],
    ['floodgate run examples/damo.yaml', 'examples/damo.yaml: the repository has no such file'],
    ['floodgate ci a.yaml --budget calls=3', '--budget: got calls=3'],
    ['floodgate transfer a --targets world:gpt2-giant', 'world:gpt2-giant'],
    ['floodgate export a --format csv --stage smooth', 'smooth: there is no such stage'],
    ['floodgate models pull smollm3', 'smollm3: the catalogue has no such model'],
    ['npm run lap', 'npm run lap: there is no such script'],
    ['npm run lab -- claims --ground mad', "argument 'mad' is invalid"],
    ['npm run lab -- benchmark lab/hill-climber.ts', 'lab/hill-climber.ts: the repository has no such file'],
    ['npm install ./floodgate-0.0.1.tgz', '0.0.1 is not our version'],
    ['npm ci --prefix sight', 'there is no package'],
    ['npx vitest run test/docz', 'test/docz: the repository has no such file'],
    ['UPDATE_DOC=1 npx vitest run test/docs/claims', 'UPDATE_DOC: none of these tests reads it'],
    ['node node_modules/floodgate/scripts/measure-view.mjs', 'the package leaves it out'],
    ['node my.mjs', 'node my.mjs: it is no file of ours'],
    ['floodgat run a.yaml', 'floodgat: neither ours nor in OTHER_PROGRAMS'],
  ])('would not pass with: %s', async (text, problem) => {
    expect((await shellProblems(text)).join('\n')).toContain(problem);
  });
});

it.each(['floodgate', 'lab'] as const)('the examples in the help of %s are taken by it, too', async (program) => {
  const examples = [...(await helpTexts(program))].flatMap(([command, help]) =>
    (help.split(/^Examples:$/m)[1] ?? '')
      .split('\n')
      .filter((line) => /^ {2}(?:floodgate|npm run lab --) /.test(line))
      .map((line) => ({ command, line: line.trim() })),
  );
  expect(examples.length).toBeGreaterThan(program === 'lab' ? 20 : 60);
  const wrong = await Promise.all(
    examples.map(async ({ command, line }) =>
      (await shellProblems(line)).map((each) => `${command}: ${line}: ${each}`),
    ),
  );
  expect(wrong.flat()).toEqual([]);
});

it.each(exampleCommands())('$place: $line', async ({ line }) => {
  expect(await shellProblems(line)).toEqual([]);
});

describe('commands inside sentences', () => {
  // These two have commands of older versions, as both say.
  it.each([...documents].filter(([name]) => !['CHANGELOG.md', 'docs/results.md'].includes(name)))(
    '%s: exist, with their options',
    async (_, text) => {
      const mentions = await inlineMentions(text);
      expect(mentions.filter(({ unknown }) => unknown.length > 0)).toEqual([]);
    },
  );

  it('would not pass with a name that is none', async () => {
    const text =
      'First `floodgate ran FILE`, then\n`npx floodgate run FILE\n--dry` and `npm run lab -- fuzz --counts N`.\n```\n`floodgate x`\n```\n';
    expect((await inlineMentions(text)).map(({ unknown }) => unknown)).toEqual([['ran'], ['--dry'], ['--counts']]);
  });
});

describe('YAML blocks', () => {
  it.each(of('yaml'))('$place is a valid file, or part of one', async ({ text }) => {
    expect(await yamlProblems(text)).toEqual([]);
  });

  it.each([
    ['gate: { succesRate: 0.1 }', 'did you mean gate.successRate?'],
    ['a: [1', 'Flow sequence'],
    ['kind: guard\nmodel: hf:a/b\nformat: qwen4guard', 'judges.training.format'],
    ['target: { kind: http, answer: $.a }', 'target.url: missing'],
    [
      'target: { kind: module, file: ./examples/targets/no.mjs }',
      './examples/targets/no.mjs: the repository has no such file',
    ],
    ['targets: [{ model: a, precison: int8 }]', 'precison'],
    ['# house.yaml\ncategories: { a: { title: A, rows: { owasp: [X] } } }', 'got owasp X, which has no title'],
    ['# new.yaml\na: 1', 'KIND_OF_FILE does not know'],
  ])('would not pass with: %s', async (text, problem) => {
    expect((await yamlProblems(text)).join('\n')).toContain(problem);
  });
});

describe('JSON blocks', () => {
  it.each(of('json'))('$place is what the program writes', ({ text }) => {
    expect(jsonProblems(text)).toEqual([]);
  });
});

it.each(of('xml'))('$place is well formed', ({ text }) => {
  expect(xmlProblems(text)).toEqual([]);
  expect(xmlProblems(text.replace('</properties>', ''))).not.toEqual([]);
});

describe('JavaScript, TypeScript and rows of an export', () => {
  afterEach(() => vi.restoreAllMocks());

  const only = (document: string): string => {
    const found = of('module').filter((block) => block.document === document);
    expect(found).toHaveLength(1);
    return modules.fileOf(found[0] as DocBlock);
  };

  it('are right by the types of the public entry', async () => {
    const errors = await typeErrors;
    expect(errors.filter((line) => !line.startsWith('wrong-'))).toEqual([]);
    expect(errors.map((line) => line.split('(')[0]).sort()).toEqual([
      'wrong-md-10.ts',
      'wrong-md-3.mjs',
      'wrong-md-6.mjs',
    ]);
  });

  it('the program of the engine has right gradients, and learns', async () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    await import(/* @vite-ignore */ only('src/engine/README.md'));
    const [largest, ...losses] = log.mock.calls.map(([value]) => value as number);
    expect(largest).toBeLessThan(1e-7);
    expect(losses).toHaveLength(4);
    expect(losses[0]).toBeLessThan(Math.LN2); // of a guess
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);
  });

  it('the judge of docs/judges.md judges', async () => {
    await import(/* @vite-ignore */ only('docs/judges.md'));
    const judge = await openJudge({ kind: 'capitals', limit: 0.8 });
    const verdicts = await judge.score([
      { attack: 'a', response: 'GO away' },
      { attack: 'a', response: 'AND NOW' },
      { attack: 'a', response: 'fine' },
    ]);
    expect(verdicts).toEqual([
      { kind: 'scored', unsafe: expect.closeTo(2 / 7 / 0.8) },
      { kind: 'scored', unsafe: 1 },
      { kind: 'scored', unsafe: 0 },
    ]);
    await judge.close();
  });

  it('the attacker of docs/benchmark.md is loaded as one, and proposes', async () => {
    const attacker = await loadAttacker(only('docs/benchmark.md'), new AbortController().signal);
    const turn = { count: 2, left: 2, history: [], seeds: ['a b'], stream: randomStream(1, 'docs') };
    const attacks = await attacker.propose(turn);
    expect(attacks.length).toBeGreaterThan(0);
    expect(attacks.every((attack) => typeof attack === 'string')).toBe(true);
    expect(await attacker.sample?.(turn)).toEqual([]);
  });
});
