import { mkdtempSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { UNPRINTABLE } from '../../src/base/unprintable.ts';
import { createBareProgram, type ProgramParts } from '../../src/cli/program.ts';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../src/runs/store/stage-name.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { fixtureManifest } from '../report/fixture-run.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

/** A title, a bell, a return to the line's start, a C1 command, text from right to left, a hidden letter, a false row. */
const HOSTILE = 'x\u001b]0;PWNED\u0007\r\u009b2J\u202e\u{e0041}\ufe0f';
const FALSE_ROW = `${HOSTILE}\nfine done`;

/** Nothing in the text moves a terminal, and no line is one that a hostile name brought. */
function expectHarmless(text: string): void {
  expect(text.replaceAll('\n', '').match(UNPRINTABLE)).toBe(null);
  expect(text.split('\n').filter((line) => line.startsWith('fine done'))).toEqual([]);
}

let runsDir: string;
const NAME = FALSE_ROW;
const place = (): string => join(runsDir, NAME);

beforeAll(async () => {
  runsDir = join(mkdtempSync(join(tmpdir(), 'floodgate-injection-')), 'runs');
  const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
  const folder = await createRunFolder({ runsFolder: runsDir, name: 'r', ifTaken: 'refuse', configAt: () => config });
  await writeManifest(
    folder.manifestPath,
    fixtureManifest(config, {
      run: NAME,
      judges: { training: `trainer${FALSE_ROW}`, evaluation: [`other${FALSE_ROW}`] },
      authorisation: FALSE_ROW,
      models: [{ role: `target${FALSE_ROW}`, spec: `model${FALSE_ROW}`, sha256: 'ab' }],
    }),
  );
  const store = await openStore(folder.databasePath);
  const cost = { targetCalls: 2, judgeCalls: 4, tokens: 6, seconds: 1.5 };
  const response = { text: FALSE_ROW, tokens: 3, truncated: false, verdicts: [] };
  const attack = { source: 'fresh', ids: [1], logPi: -1, logPRef: -1, logReward: -1, meanUnsafe: 0.9 } as const;
  for (const stage of ['gflownet', `own${FALSE_ROW}`]) {
    for (const name of [stage, evaluationStage(stage)]) {
      store.beginStage(name, 1);
      store.recordUpdate({
        stage: name,
        update: 0,
        attacks: [{ ...attack, text: FALSE_ROW, responses: [response] }],
        metrics: [
          { name: 'asr', judge: `other${FALSE_ROW}`, value: 0.5, low: 0.4, high: 0.6, n: 16 },
          { name: 'asr', judge: `trainer${FALSE_ROW}`, value: 0.5, low: 0.4, high: 0.6, n: 16 },
        ],
        events: [{ level: 'warning', code: 'collapse', message: FALSE_ROW }],
        cost,
      });
      store.endStage(name, 'done');
    }
  }
  store.close();
  renameSync(folder.path, place());
});

describe('names and texts of a hostile run', () => {
  it.each([
    [0, 'list', () => []],
    [0, 'show', () => [place()]],
    [0, 'show', () => [place(), '--attacks', '5']],
    [0, 'show', () => [place(), '--attacks', '5', '--stage', `own${FALSE_ROW}`]],
    [2, 'show', () => [place(), '--attacks', '5', '--stage', `no ${FALSE_ROW}`]],
    [0, 'report', () => [place(), '--without-texts', '--out', join(runsDir, `page${FALSE_ROW}.html`)]],
    [2, 'rm', () => [place()]],
    [2, 'show', () => [FALSE_ROW]],
    [2, FALSE_ROW, () => []],
  ] as const)('move no terminal and forge no line: exit code %i of %s', async (expected, command, rest) => {
    for (const flags of [[], ['--json'], ['--debug']]) {
      const { code, stdout, stderr } = await cli([command, ...rest(), '--runs-dir', runsDir, ...flags]);
      expect(code, stdout + stderr).toBe(expected);
      expect(stdout + stderr).toContain('fine done');
      expectHarmless(stdout);
      expectHarmless(stderr);
    }
  });

  it.each(['jsonl', 'junit', 'sarif', 'markdown', 'inspect-log'])(
    'move no terminal as an export: %s',
    async (format) => {
      const { code, stdout, stderr } = await cli([
        ...['export', place(), '--runs-dir', runsDir],
        ...['--format', format, '--show-attacks'],
      ]);
      expect(code, stderr).toBe(0);
      expectHarmless(stdout);
      expectHarmless(stderr);
    },
  );

  it('are whole in JSON', async () => {
    const { stdout } = await cli(['list', '--json', '--runs-dir', runsDir]);
    expect(JSON.parse(stdout)).toMatchObject({ runs: [{ name: NAME }] });
  });

  it('of a config come back from its YAML', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'floodgate-injection-')), 'a.yaml');
    const metaPrompt = `${HOSTILE}\u3164\n\ttail`;
    writeFileSync(file, minimalConfigText);
    const { stdout, stderr, code } = await cli([
      'config',
      'show',
      file,
      '--set',
      `attacker.metaPrompt=${JSON.stringify(metaPrompt)}`,
    ]);
    expect(code, stderr).toBe(0);
    expectHarmless(stdout);
    expect(parse(stdout)).toMatchObject({ attacker: { metaPrompt } });
  });
});

describe('the output of commands', () => {
  const speaking = (json: boolean) =>
    cli(['speak', ...(json ? ['--json'] : [])], {}, ({ context, write }: ProgramParts) => {
      const program = createBareProgram('floodgate', write);
      program.command('speak').action(() => {
        context.progress.start(HOSTILE, undefined, HOSTILE).finish(HOSTILE);
        context.writeFileText(json ? '' : `\ufeffa\r\nb${HOSTILE}`);
        context.out(json ? JSON.stringify({ HOSTILE }) : `first ${HOSTILE}\nsecond`);
        throw new Error(HOSTILE);
      });
      return program;
    });

  it('is made harmless at its sink, whatever a command gives', async () => {
    for (const json of [false, true]) {
      const { stdout, stderr } = await speaking(json);
      expect(stdout.split('\n').length).toBeGreaterThan(2);
      // A byte order mark and line ends are part of a file.
      expectHarmless(stdout.replace('\ufeffa\r\n', ''));
      expectHarmless(stderr);
    }
  });

  it('goes round its sink nowhere', () => {
    const root = resolve(import.meta.dirname, '../..');
    const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(root, 'src', name));
    const naming = (pattern: RegExp, among: readonly string[]): string[] =>
      among.filter((file) => pattern.test(readFileSync(file, 'utf8'))).map((file) => relative(root, file));
    // The process's own streams become the outputs of the sink, once.
    expect(
      naming(/\bstd(?:out|err)\b.*\bprocess\b|process\s*(?:\.|\[['"`])\s*std(?:out|err)|\bconsole\s*[.[]/, files),
    ).toEqual(['src/cli/process.ts']);
    expect(naming(/(?:writeSync|writeFileSync|createWriteStream)\(\s*(?:1|2|['"`]\/dev\/)/, files)).toEqual([]);
    // Of the command line, only the sink and the progress bar write to a stream.
    const cliFiles = files.filter((file) => relative(root, file).startsWith('src/cli/'));
    expect(naming(/\.write\(/, cliFiles).sort()).toEqual([
      'src/cli/process.ts',
      'src/cli/run-cli.ts',
      'src/cli/terminal-progress.ts',
    ]);
  });
});
