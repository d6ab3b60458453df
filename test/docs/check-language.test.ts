import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/check-language.mjs', import.meta.url));
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** Runs the check on a folder of these files; returns its exit status and its lines but the last, which sums up. */
function check(files: Readonly<Record<string, string>>): { status: number | null; lines: string[]; summary: string } {
  const root = mkdtempSync(join(tmpdir(), 'language-'));
  folders.push(root);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const { status, stdout } = spawnSync(process.execPath, [script, '--root', root], { encoding: 'utf8' });
  const lines = stdout.trimEnd().split('\n');
  return { status, lines: lines.slice(0, -1), summary: lines.at(-1) ?? '' };
}

const words = (count: number): string => `${Array.from({ length: count }, () => 'word').join(', ')}.`;

const GOOD: Readonly<Record<string, string>> = {
  'README.md': `# What it does\n\nThe attacker writes attacks.\n${words(12)}\n${words(25).replace(/(.{60}),/, '$1,\n')}\n\nWhat does it need? Node 20.\n`,
  'docs/a.md': [
    `A page about \`made world\` and \`mend\`, in [plain words](https://example.org/${'long/'.repeat(40)}).`,
    '',
    `| a row of ${words(100)} |`,
    '',
    '```sh',
    `echo "stands for what was mended anew" # ${'long '.repeat(40)}`,
    '```',
    '<!-- bench:table -->',
    '',
    `- ${words(80)}`,
    '',
    '<!-- /bench -->',
    '',
  ].join('\n'),
  'docs/claims-data/x.md': 'This stands for nothing.\n',
  'src/a.ts': `const mend = /stands for \`"/; // The number of steps.\nexport const text = \`a \${mend} b\`;\n`,
  'test/a.test.ts': `it('a message of a test stands for itself', () => {});\n`,
  'lab/a.py': `text = "# stands for"  # a comment\n`,
  'other/a.ts': '// This stands for a folder that is not read.\n',
};

describe('scripts/check-language.mjs', () => {
  it('finds nothing in good text', () => {
    expect(check(GOOD)).toEqual({ status: 0, lines: [], summary: 'language: 0 findings in 5 files' });
  });

  it.each([
    ['a phrase in Markdown', 'docs/a.md', 'First line.\n\nIt stands\nfor a number.\n', 'docs/a.md:3: "stands for"'],
    ['a phrase in a table', 'docs/a.md', '| x |\n|---|\n| is mended |\n', 'docs/a.md:3: "mend"'],
    ['a phrase in a docstring', 'src/a.ts', '/**\n * One.\n * The run goes on.\n */\n', 'src/a.ts:3: "goes on"'],
    ['a phrase in a line comment', 'lab/a.ts', 'const url = "x://y"; // made worlds\n', 'lab/a.ts:1: "made world"'],
    ['a phrase in a message of src/', 'src/a.ts', "\nthrow Error('mend the judge');\n", 'src/a.ts:2: "mend"'],
    ['a comment after a template', 'src/a.ts', 'f(`\x24{a ? `}` : "b"}`); // anew\n', 'src/a.ts:1: "anew"'],
    ['a comment after a pattern', 'test/a.ts', 'f(/["/`]/); // it gave way\n', 'test/a.ts:1: "gives way"'],
    ['a Python docstring', 'lab/a.py', 'def f():\n    """One.\n\n    It hangs on two."""\n', 'lab/a.py:4: "hangs on"'],
    ['a YAML comment', 'examples/a.yaml', 'a: 1 # trained again\n', 'examples/a.yaml:1: "trained again"'],
    ['a misspelling', 'docs/a.md', 'It occured.\n', 'docs/a.md:1: spelling "occured": use "occurred"'],
    ['an American form', 'src/a.ts', '// Its behavior.\n', 'src/a.ts:1: spelling "behavior": use "behaviour"'],
    ['a doubled word', 'docs/a.md', 'This is the\nthe page.\n', 'docs/a.md:1: "the" twice'],
    [
      'What as a subject',
      'docs/a.md',
      'It runs. What it is, nobody says.\n',
      'docs/a.md:1: a sentence begins with "What"',
    ],
    ['What in a docstring', 'src/a.ts', '/** What is stored. */\n', 'src/a.ts:1: a sentence begins with "What"'],
    [
      '26 words in README.md',
      'README.md',
      `Short.\n\n${words(26)}\n`,
      'README.md:3: a sentence of 26 words, at most 25',
    ],
    ['41 words in docs/', 'docs/a.md', `One. ${words(41)}\n`, 'docs/a.md:1: a sentence of 41 words, at most 40'],
    ['a long line', 'docs/a.md', `${'ab. '.repeat(30)}X\n`, 'docs/a.md:1: a line of 121 characters, at most 120'],
  ])('reports %s', (_what, name, text, finding) => {
    const { status, lines, summary } = check({ [name]: text });
    expect(lines.filter((line) => line.startsWith(finding))).toHaveLength(1);
    expect(lines.filter((line) => !line.startsWith(finding) && !/characters|words, at/.test(line))).toEqual([]);
    expect(status).toBe(1);
    expect(summary).toMatch(/^language: \d+ findings in 1 files \(/);
  });
});
