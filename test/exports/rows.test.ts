import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ExportedAttack } from '../../src/exports/export-row.ts';
import { inertCell } from '../../src/exports/formats/csv.ts';
import { createCauseFinder, type KnownCause } from '../../src/exports/known-causes.ts';
import { exportFormats } from '../../src/exports/registry.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { HOSTILE, makeExportRun, placed, removeAfterTests, runExport, runsDir } from './fixture-export.ts';

removeAfterTests();

beforeAll(async () => {
  await makeExportRun('one', { withHostile: true, withTransfer: true });
});

async function jsonl(...args: string[]): Promise<ExportedAttack[]> {
  const { code, stdout, stderr } = await runExport('one', '--format', 'jsonl', ...args);
  expect(code, stderr).toBe(0);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as ExportedAttack);
}

type CsvRow = Record<string, string>;

async function csv(...args: string[]): Promise<CsvRow[]> {
  const { code, stdout, stderr } = await runExport('one', '--format', 'csv', ...args);
  expect(code, stderr).toBe(0);
  return parse(stdout, { columns: true, bom: true, record_delimiter: '\r\n' }) as CsvRow[];
}

const TEXTS = /hidden phrase|reply (one|two)|calc|SUM|pipe|secret|somebody/;

describe('export --format jsonl', () => {
  it('holds every attack of the run once, each with its phase, target and provenance', async () => {
    const rows = await jsonl();
    const counts = new Map<string, number>();
    for (const { stage, phase, target } of rows) {
      const key = `${stage} ${phase} ${target}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect([...counts]).toEqual([
      ['sft evaluation toy-target', 20],
      ['gflownet evaluation toy-target', 40],
      ['ppo evaluation toy-target', HOSTILE.length],
      ['gflownet transfer other-model', 2],
    ]);
    expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length);
    const [{ run, seed, floodgate, texts, configSha256, createdAt } = {} as ExportedAttack] = rows;
    expect({ run, seed, floodgate, texts, createdAt }).toEqual({
      run: 'one',
      seed: 0,
      floodgate: '0.1.0',
      texts: 'masked',
      createdAt: '1970-01-01T00:00:00.000Z',
    });
    expect(configSha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('holds the attacks that were asked before the first update', async () => {
    await makeExportRun('early', { withTraining: true });
    const { stdout } = await runExport('early', '--format', 'jsonl', '--stage', 'gflownet', '--show-attacks');
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as ExportedAttack)
      .filter(({ phase }) => phase === 'training');
    expect(rows.map(({ update, source, attack }) => [update, source, attack])).toEqual([
      [-1, 'reference', 'drawn before'],
      [0, 'fresh', 'drawn first'],
    ]);
  });

  it('masks every text unless it is asked for, and says so beside the output', async () => {
    const { stdout, stderr } = await runExport('one', '--format', 'jsonl');
    expect(stdout).not.toMatch(TEXTS);
    expect(stdout).toContain('"attack":"[masked: 6 words]"');
    expect(stderr).toContain('texts are masked: --show-attacks exports them, --without-texts leaves them out');
    const shown = await jsonl('--show-attacks', '--stage', 'gflownet');
    expect(shown[0]).toMatchObject({ attack: 'kind0 please say hidden phrase 0', texts: 'shown' });
    expect(shown[0]?.responses.map(({ text }) => text)).toEqual(['reply one of 0', 'reply two of 0']);
    const none = await jsonl('--without-texts');
    expect(JSON.stringify(none)).not.toMatch(/masked:/);
    expect(
      none.every(({ attack, cause, responses }) => attack === null && cause === null && responses[0]?.text === null),
    ).toBe(true);
    expect(await runExport('one', '--format', 'jsonl', '--show-attacks', '--without-texts')).toMatchObject({ code: 2 });
  });

  it('keeps each text as it is, and no character in it moves a cursor', async () => {
    const { stdout } = await runExport('one', '--format', 'jsonl', '--show-attacks', '--stage', 'ppo');
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as ExportedAttack);
    expect(rows.map(({ attack }) => attack)).toEqual(HOSTILE);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are looked for.
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });

  it('names the categories of judges and their places in the taxonomies', async () => {
    const [row] = await jsonl('--stage', 'ppo');
    expect(row?.categories).toEqual(['hate', 'violent-crimes']);
    expect(row?.taxonomy.map(({ taxonomy, id }) => `${taxonomy}/${id}`)).toEqual([
      'mlcommons/vcr',
      'owasp-llm/LLM01:2025',
      'atlas/AML.T0054',
      'mlcommons/hte',
    ]);
    expect(row?.responses[1]).toMatchObject({ isRefused: true, verdicts: [] });
  });

  it('gives a success the longest known cause that it holds, and no other attack any', async () => {
    const rows = await jsonl('--show-attacks', '--stage', 'gflownet');
    const at = (text: string) => rows.find(({ attack, phase }) => attack === text && phase === 'evaluation');
    expect(at('kind0 please say hidden phrase 0')?.cause).toBe('kind0 please say hidden phrase 0');
    expect(at('kind1 please say hidden phrase 1')?.cause).toBe('say hidden phrase');
    expect(at('kind3 please say hidden phrase 3')).toMatchObject({ isSuccess: false, cause: null, causeSha256: null });
    expect(at('kind1 please say hidden phrase 6')?.causeSha256).toBe(
      at('kind2 please say hidden phrase 7')?.causeSha256,
    );
  });

  it('hashes the words of a cause, whatever their case and punctuation', () => {
    expect(causeSha256('Rude.')).toBe(causeSha256('rude'));
    expect(causeSha256('be  RUDE, now!')).toBe(causeSha256('be rude now'));
    expect(causeSha256('be rude')).not.toBe(causeSha256('berude'));
    expect(causeSha256('!!')).not.toBe(causeSha256('?'));
  });

  it('takes a variant of a cause for its way, unless another way has it as its own', () => {
    const cause = (text: string, variants: string[], successes: number): KnownCause => {
      return { sha256: text, cause: text, variants, example: text, isEcho: false, stages: [], successes };
    };
    const find = createCauseFinder([cause('b c', ['x y', 'd e'], 9), cause('d e', [], 3)]);
    expect(find('a X Y z')?.cause).toBe('b c');
    expect(find('a d e z')?.cause).toBe('d e');
    expect(find('a x z')).toBeUndefined();
  });

  it('adds a user’s table of categories to its own, and refuses one that is wrong', async () => {
    const table = placed('table.yaml');
    writeFileSync(
      table,
      'taxonomies: { house: { title: House rules, rows: { H1: Be kind } } }\ncategories: { hate: { title: Hate, rows: { house: [H1] } } }\n',
    );
    const [row] = await jsonl('--stage', 'ppo', '--taxonomy', table);
    expect(row?.taxonomy).toContainEqual({ taxonomy: 'house', id: 'H1', title: 'Be kind' });
    writeFileSync(table, 'categories: { ours: { title: Ours, clusters: [Say  hidden phrase, say hidden phrase] } }\n');
    const rows = await jsonl('--stage', 'gflownet', '--taxonomy', table);
    const ours = rows.filter(({ categories }) => categories.includes('ours'));
    expect(ours.map(({ causeSha256 }) => causeSha256)).toEqual(ours.map(() => causeSha256('say hidden phrase')));
    expect(ours).toHaveLength(23 + 1);
    writeFileSync(table, 'categories: { hate: { title: Hate, rows: { house: [H1] } } }\n');
    expect(await runExport('one', '--format', 'jsonl', '--taxonomy', table)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('got house H1, which has no title'),
    });
    expect(await runExport('one', '--format', 'jsonl', '--taxonomy', placed('none.yaml'))).toMatchObject({ code: 2 });
  });
});

describe('export --format csv', () => {
  it('holds one row a response, with a column for each judge, and numbers as numbers', async () => {
    const rows = await csv('--stage', 'gflownet');
    expect(rows).toHaveLength(40 * 2 + 2);
    expect(rows[0]).toMatchObject({
      run: 'one',
      phase: 'evaluation',
      response_position: '0',
      success: 'true',
      'unsafe:other': '0.9',
      'unsafe_own_words_masked:other': '0.1',
      'unsafe:trainer': '0.9',
      log_pi: '-1',
    });
    expect(rows[80]).toMatchObject({ phase: 'transfer', target: 'other-model', 'unsafe:trainer': '', log_pi: '' });
  });

  it('is inert: no cell of a text begins a formula, and no number is quoted', async () => {
    const rows = await csv('--stage', 'ppo', '--show-attacks');
    expect([...new Set(rows.map(({ attack }) => attack))]).toEqual([
      "'=cmd|calc!A1",
      "'+1+1",
      "'-2+3",
      "'@SUM(A1)",
      "'\tx",
      "'\\u{d}=x",
      "' =1+1",
      "'\uff1d1+1",
      'a"b,c\nd',
      ']]>&<b>\\u{0}\\u{1b}[31m\\u{202e}\ufffe',
      '| pipe ` tick',
    ]);
    const { stdout } = await runExport('one', '--format', 'csv', '--stage', 'ppo', '--show-attacks');
    expect(stdout).toContain(',0.9,-2.5,'.replace('0.9,', '0.9,,'));
    expect(stdout.startsWith('\ufeff"run",')).toBe(true);
    expect(stdout.split('\r\n')).toHaveLength(1 + HOSTILE.length * 2 + 1);
  });

  it('reads back as it was written, but for what is defused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const cell = inertCell(text);
        const [[read]] = parse(`"${cell.replaceAll('"', '""')}"\r\n`, { record_delimiter: '\r\n' }) as [[string]];
        expect(read).toBe(cell);
        expect(cell).not.toMatch(/^\s*[=+\-@]|^[\t\r\n]/);
      }),
    );
  });
});

describe('every export', () => {
  it.each(exportFormats.names())('%s holds no path of a machine, whatever the texts', async (format) => {
    for (const mode of [[], ['--without-texts'], ['--show-attacks']]) {
      const out = placed(`paths-${format}${mode.join('')}`);
      expect(await runExport('one', '--format', format, '--out', out, ...mode)).toMatchObject({ code: 0 });
      const files = readdirSync(placed(), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.startsWith(`paths-${format}${mode.join('')}`))
        .map((name) => placed(name));
      for (const file of files) {
        const text = existsSync(`${file}/.`) ? '' : readFileSync(file, 'latin1');
        for (const path of ['/configs', runsDir, '/home/somebody', '/srv/secret', `${homedir()}/`])
          expect(text.includes(path), `${file} holds ${path}`).toBe(false);
      }
    }
  });

  it('refuses to overwrite without --force, and leaves what was there and no remains', async () => {
    const out = placed('kept/one.csv');
    mkdirSync(placed('kept'));
    writeFileSync(out, 'mine');
    const refused = await runExport('one', '--format', 'csv', '--out', out);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('--force to overwrite it') });
    expect(readFileSync(out, 'utf8')).toBe('mine');
    expect(await runExport('one', '--format', 'csv', '--out', out, '--force', '--json')).toMatchObject({ code: 0 });
    expect(readFileSync(out, 'utf8')).toMatch(/^\ufeff"run"/);
    expect(readdirSync(placed('kept'))).toEqual(['one.csv']);
  });

  it('stops on an interrupt and leaves nothing', async () => {
    const { cli } = await import('../cli/cli-runner.ts');
    const out = placed('stopped.jsonl');
    const signal = AbortSignal.abort();
    const args = ['export', 'one', '--format', 'jsonl', '--out', out, '--runs-dir', runsDir];
    await cli([...args, '--cache-dir', placed('empty')], { signal });
    expect(readdirSync(placed()).filter((name) => name.includes('stopped'))).toEqual([]);
  });

  it('says as JSON what it wrote, refuses --json on standard output, and an unknown stage', async () => {
    const out = placed('said.jsonl');
    const { stdout } = await runExport('one', '--format', 'jsonl', '--out', out, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ run: 'one', path: out, format: 'jsonl', attacks: 73, texts: 'masked' });
    expect(await runExport('one', '--format', 'jsonl', '--json')).toMatchObject({ code: 2 });
    const unknown = await runExport('one', '--format', 'jsonl', '--stage', 'gone');
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('expected one of evaluate:sft, sft') });
  });
});
