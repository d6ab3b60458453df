import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { codeSpan } from '../../src/exports/markdown-text.ts';
import { builtInTaxonomy } from '../../src/report/taxonomy/taxonomy.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { FIXTURE_CAUSES } from '../report/fixture-run.ts';
import { launchBrowser } from '../report/page-browser.ts';
import { HOSTILE, makeExportRun, placed, removeAfterTests, runExport } from './fixture-export.ts';
import { junitErrors } from './junit-schema.ts';
import { sarifErrors } from './sarif-schema.ts';

removeAfterTests();

const [SAY = '', ECHO = ''] = FIXTURE_CAUSES.ways.map(({ cause }) => causeSha256(cause));

beforeAll(async () => {
  await makeExportRun('one', { withHostile: true, withTransfer: true });
  await makeExportRun('plain', { withoutCauses: true });
  await makeExportRun('hostile', {
    causes: {
      ...FIXTURE_CAUSES,
      ways: HOSTILE.map((cause) => ({ cause, example: cause, isEcho: false, successes: 1, searches: 1 })),
    },
    withHostile: true,
  });
});

async function exported(run: string, format: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runExport(run, '--format', format, ...args);
  expect(code, stderr).toBe(0);
  return stdout;
}

describe('export --format parquet', () => {
  it('holds the rows of the CSV with their types, read by another library', async () => {
    const path = placed('one.parquet');
    await exported('one', 'parquet', '--show-attacks', '--out', path);
    const file = await asyncBufferFromFile(path);
    const rows = await parquetReadObjects({ file });
    expect(rows).toHaveLength((20 + 40 + HOSTILE.length) * 2 + 2);
    expect(rows[40]).toMatchObject({
      run: 'one',
      seed: 0n,
      attack_id: 21n,
      stage: 'gflownet',
      phase: 'evaluation',
      attack: 'kind0 please say hidden phrase 0',
      response: 'reply one of 0',
      success: true,
      log_pi: -1,
      log_p_ref: null,
      'unsafe:other': 0.9,
      'unsafe_own_words_masked:other': 0.1,
      cause_sha256: ECHO,
    });
    expect(
      rows
        .filter(({ stage, response_position }) => stage === 'ppo' && response_position === 0n)
        .map(({ attack }) => attack),
    ).toEqual(HOSTILE);
    expect(rows.filter(({ stage }) => stage === 'ppo')[1]).toMatchObject({
      response_refused: true,
      'unsafe:other': null,
    });
  });

  it('is written in groups of rows', async () => {
    const many = Array.from({ length: 5000 }, (_, i) => ({ text: `kind1 many ${i}`, responses: ['x'], unsafe: 0.1 }));
    await makeExportRun('many', { attacks: many, stages: ['sft'] });
    const path = placed('many.parquet');
    await exported('many', 'parquet', '--without-texts', '--out', path);
    const { row_groups: groups } = await parquetMetadataAsync(await asyncBufferFromFile(path));
    expect(groups.map(({ num_rows }) => num_rows)).toEqual([4096n, 904n]);
    const rows = await parquetReadObjects({ file: await asyncBufferFromFile(path) });
    expect(rows.map(({ attack_id }) => attack_id)).toEqual(many.map((_, i) => BigInt(i + 1)));
  });

  it('needs a file', async () => {
    const refused = await runExport('one', '--format', 'parquet');
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('--out FILE') });
  });
});

describe('export --format hf-dataset', () => {
  it('is a folder with a card whose header names every split, and the rows of each', async () => {
    const folder = placed('set');
    await exported('one', 'hf-dataset', '--licence', 'CC-BY-4.0', '--out', folder);
    const card = readFileSync(`${folder}/README.md`, 'utf8');
    const [, header = ''] = card.split('---\n');
    const { license, configs } = parseYaml(header) as {
      license: string;
      configs: { data_files: { split: string; path: string }[] }[];
    };
    expect(license).toBe('cc-by-4.0');
    const files = configs[0]?.data_files ?? [];
    expect(files.map(({ split }) => split)).toEqual(['evaluation', 'transfer']);
    expect(readdirSync(`${folder}/data`).sort()).toEqual(files.map(({ path }) => path.slice('data/'.length)).sort());
    const transfer = await parquetReadObjects({ file: await asyncBufferFromFile(`${folder}/${files[1]?.path}`) });
    expect(transfer.map(({ phase, target, attack }) => [phase, target, attack])).toEqual([
      ['transfer', 'other-model', '[masked: 6 words]'],
      ['transfer', 'other-model', '[masked: 6 words]'],
    ]);
    expect(card).toContain('texts are masked');
    expect(card).not.toContain('No licence was stated');
  });

  it('states no licence of its own, and replaces a folder only with --force, whole', async () => {
    const folder = placed('replaced');
    mkdirSync(folder);
    writeFileSync(`${folder}/mine.txt`, 'mine');
    expect(await runExport('one', '--format', 'hf-dataset', '--out', folder)).toMatchObject({ code: 2 });
    expect(readdirSync(folder)).toEqual(['mine.txt']);
    const foreign = await runExport('one', '--format', 'hf-dataset', '--out', folder, '--force');
    expect(foreign).toMatchObject({ code: 2, stderr: expect.stringContaining('it holds mine.txt') });
    expect(readdirSync(folder)).toEqual(['mine.txt']);
    rmSync(`${folder}/mine.txt`);
    mkdirSync(`${folder}/data`);
    writeFileSync(`${folder}/data/old.parquet`, 'old');
    await exported('one', 'hf-dataset', '--out', folder, '--force');
    expect(readdirSync(`${folder}/data`)).not.toContain('old.parquet');
    expect(readdirSync(folder).sort()).toEqual(['README.md', 'data']);
    expect(readdirSync(placed()).filter((name) => name.includes('partial'))).toEqual([]);
    const card = readFileSync(`${folder}/README.md`, 'utf8');
    expect(card).toContain('license: unknown');
    expect(card).toContain('No licence was stated');
    expect(await runExport('one', '--format', 'hf-dataset', '--licence', 'a: b', '--out', folder)).toMatchObject({
      code: 2,
    });
  });
});

interface ReadCase {
  readonly name: string;
  readonly status: string;
  readonly message: string;
}
interface ReadSuite {
  readonly name: string;
  readonly properties: Readonly<Record<string, string>>;
  readonly counts: readonly string[];
  readonly cases: readonly ReadCase[];
}

describe('export --format junit', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  /** The suites as the XML parser of a browser reads them; it refuses a document that is not well-formed. */
  async function readSuites(xml: string): Promise<ReadSuite[]> {
    const page = await browser.newPage();
    const script = `((xml) => {
      const parsed = new DOMParser().parseFromString(xml, 'application/xml');
      const error = parsed.querySelector('parsererror');
      if (error !== null) throw new Error(error.textContent);
      const named = (element, name) => element.getAttribute(name) ?? '';
      return [...parsed.querySelectorAll('testsuite')].map((suite) => ({
        name: named(suite, 'name'),
        properties: Object.fromEntries([...suite.querySelectorAll('property')].map((p) => [named(p, 'name'), named(p, 'value')])),
        counts: ['tests', 'failures', 'errors', 'skipped'].map((name) => named(suite, name)),
        cases: [...suite.querySelectorAll('testcase')].map((each) => ({
          name: named(each, 'name'),
          status: each.querySelector('failure') ? 'failed' : each.querySelector('skipped') ? 'skipped' : 'passed',
          message: each.querySelector('failure')?.textContent ?? '',
        })),
      }));
    })`;
    const suites = await page.evaluate<ReadSuite[]>(`${script}(${JSON.stringify(xml)})`);
    await page.close();
    return suites;
  }

  it.each(['one', 'plain', 'hostile'])('writes what the readers in common use take: run %s', async (run) => {
    for (const texts of [[], ['--show-attacks'], ['--without-texts']])
      expect(await junitErrors(await exported(run, 'junit', ...texts))).toEqual([]);
  });

  it.each([
    ['a character that XML cannot hold', (xml: string) => xml.replace('unsafe"', 'unsafe\u0001"'), /invalid|Char/],
    ['an offset of time', (xml: string) => xml.replace(/(timestamp="[^"]+)"/, '$1Z"'), /timestamp/],
    [
      'an attribute that a reader does not know',
      (xml: string) => xml.replace('<testsuites', '<testsuites name="x"'),
      /name/,
    ],
    ['properties of a case', (xml: string) => xml.replace('<failure', '<properties/><failure'), /properties/],
    [
      'a wrong count',
      (xml: string) => xml.replace(/ failures="\d+"/, ' failures="9"'),
      /says 3,9,0,0 and holds 3,3,0,0/,
    ],
    ['no outputs', (xml: string) => xml.replaceAll('<system-err/>', ''), /system-err/],
  ])('would be told of %s', async (_, breakIt, told) => {
    const xml = await exported('one', 'junit');
    expect(breakIt(xml)).not.toBe(xml);
    expect((await junitErrors(breakIt(xml))).join('\n')).toMatch(told);
  });

  it('has a suite a target and a case a way, failed where it succeeded', async () => {
    const suites = await readSuites(await exported('one', 'junit'));
    expect(suites.map(({ name, counts }) => [name, ...counts])).toEqual([
      ['toy-target', '3', '3', '0', '0'],
      ['other-model', '3', '1', '0', '0'],
    ]);
    const outcomes = suites.map(({ cases }) => cases.map(({ name, status }) => [name, status]));
    expect(outcomes).toEqual([
      [
        [`way ${SAY.slice(0, 12)}`, 'failed'],
        [`way ${ECHO.slice(0, 12)}`, 'failed'],
        ['successes without a known cause', 'failed'],
      ],
      [
        [`way ${SAY.slice(0, 12)}`, 'failed'],
        [`way ${ECHO.slice(0, 12)}`, 'passed'],
        ['successes without a known cause', 'passed'],
      ],
    ]);
    const [first, , others] = suites[0]?.cases ?? [];
    expect(first?.message).toMatch(/34 of 58 attacks that hold its cause succeeded \(59%\) on toy-target/);
    expect(suites[0]?.properties).toMatchObject({
      run: 'one',
      [`way ${SAY.slice(0, 12)} number`]: '1',
      [`way ${SAY.slice(0, 12)} causeSha256`]: SAY,
      [`way ${ECHO.slice(0, 12)} causeSha256`]: ECHO,
    });
    expect(suites[1]?.cases[0]?.message).toMatch(/1 of 1 attack that holds its cause succeeded \(100%\)/);
    expect(others?.message).toBe('11 of 47 successes hold no known cause');
  });

  it('is well-formed whatever the texts, which are masked unless asked for', async () => {
    const shown = await readSuites(await exported('hostile', 'junit', '--show-attacks'));
    const messages = shown[0]?.cases.map(({ message }) => message) ?? [];
    expect(messages.some((text) => text.includes(']]>&<b>\\u{0}\\u{1b}[31m\\u{202e}\\u{fffe}'))).toBe(true);
    expect(messages.some((text) => text.includes('Violent Crimes (vcr)'))).toBe(true);
    expect(await exported('hostile', 'junit')).not.toContain('calc');
    expect(await exported('hostile', 'junit', '--without-texts')).not.toMatch(/calc|Cause, the smallest/);
  });

  it('fails where successes were found and causes were not looked for', async () => {
    const suites = await readSuites(await exported('plain', 'junit'));
    expect(suites.map(({ counts }) => counts)).toEqual([['1', '1', '0', '0']]);
    expect(suites[0]?.cases[0]?.message).toContain('causes were not looked for');
  });
});

/** The parts of SARIF 2.1.0 that this format writes, as the tests read them. An object may have no other property. */
const message = z.strictObject({ text: z.string() });
const reference = z.strictObject({ id: z.string(), toolComponent: z.strictObject({ name: z.string() }) });
const sarifSchema = z.strictObject({
  $schema: z.url(),
  version: z.literal('2.1.0'),
  runs: z.array(
    z.strictObject({
      tool: z.strictObject({
        driver: z.strictObject({
          name: z.string(),
          version: z.string(),
          rules: z.array(
            z.strictObject({
              id: z.string(),
              name: z.string(),
              shortDescription: message,
              fullDescription: message,
              defaultConfiguration: z.strictObject({ level: z.enum(['none', 'note', 'warning', 'error']) }),
              properties: z.looseObject({ tags: z.array(z.string()) }),
              relationships: z.array(z.strictObject({ target: reference, kinds: z.array(z.string()) })).optional(),
            }),
          ),
          supportedTaxonomies: z.array(z.strictObject({ name: z.string() })),
        }),
      }),
      taxonomies: z.array(
        z.strictObject({
          name: z.string(),
          fullName: z.string(),
          taxa: z.array(z.strictObject({ id: z.string(), name: z.string(), shortDescription: message })),
        }),
      ),
      invocations: z.array(z.strictObject({ executionSuccessful: z.boolean() })),
      automationDetails: z.strictObject({ id: z.string() }),
      columnKind: z.enum(['utf16CodeUnits', 'unicodeCodePoints']),
      results: z.array(
        z.strictObject({
          ruleId: z.string(),
          ruleIndex: z.number().int().min(0),
          level: z.enum(['none', 'note', 'warning', 'error']),
          message,
          locations: z.array(
            z.strictObject({
              physicalLocation: z.strictObject({
                artifactLocation: z.strictObject({ uri: z.string() }),
                region: z.strictObject({ startLine: z.number().int().min(1) }),
              }),
            }),
          ),
          partialFingerprints: z.record(z.string(), z.string()),
          taxa: z.array(reference).optional(),
          properties: z.looseObject({}).optional(),
        }),
      ),
      properties: z.looseObject({}),
    }),
  ),
});

describe('export --format sarif', () => {
  it.each(['one', 'plain', 'hostile'])('writes a log that the official schema takes: run %s', async (run) => {
    for (const texts of [[], ['--show-attacks']]) {
      const log: unknown = JSON.parse(await exported(run, 'sarif', ...texts));
      expect(sarifErrors(log)).toEqual([]);
      const broken = { ...(log as { runs: object[] }), version: '2.0.0', extra: 1 };
      expect(sarifErrors(broken)).toEqual([
        '(log) should NOT have additional properties',
        '.version should be equal to one of the allowed values',
      ]);
    }
  });

  const read = async (run: string, ...args: string[]) => {
    const log: unknown = JSON.parse(await exported(run, 'sarif', ...args));
    expect(sarifErrors(log)).toEqual([]);
    const [first] = sarifSchema.parse(log).runs;
    if (first === undefined) throw new Error('no run');
    return first;
  };

  it('has a rule for every category, with its places, and a result a way with the hash of its cause', async () => {
    const { tool, results, taxonomies, invocations } = await read('one');
    expect(invocations).toEqual([{ executionSuccessful: true }]);
    const rules = tool.driver.rules;
    const { categories } = builtInTaxonomy();
    expect(rules.map(({ id }) => id)).toEqual([
      ...categories.map(({ name }) => `floodgate/${name}`),
      'floodgate/unsafe-answer',
    ]);
    expect(results.map(({ partialFingerprints }) => partialFingerprints['causeSha256/v1'])).toEqual([
      SAY,
      ECHO,
      'no known cause',
    ]);
    for (const { ruleId, ruleIndex } of results) expect(rules[ruleIndex]?.id).toBe(ruleId);
    const known = new Set(taxonomies.flatMap(({ name, taxa }) => taxa.map(({ id }) => `${name}/${id}`)));
    for (const { relationships = [] } of rules)
      for (const { target } of relationships) expect(known).toContain(`${target.toolComponent.name}/${target.id}`);
  });

  it('points at the target in the config of the run, or in the one that is named, never at a path of the machine', async () => {
    const place = async (...args: string[]) => (await read('one', ...args)).results[0]?.locations[0]?.physicalLocation;
    const own = await place();
    expect(own?.artifactLocation.uri).toBe('config.yaml');
    expect(own?.region.startLine).toBeGreaterThan(1);
    const config = placed('elsewhere.yaml');
    writeFileSync(config, '# one\n# two\ntarget: { kind: local }\n');
    expect(await place('--config', config)).toEqual({
      artifactLocation: { uri: 'elsewhere.yaml' },
      region: { startLine: 3 },
    });
    const inside = await place('--config', 'examples/extending/parrot.yaml').catch(() => undefined);
    if (inside !== undefined) expect(inside.artifactLocation.uri).toBe('examples/extending/parrot.yaml');
  });

  it('gives a way the rule of the category that judges named most', async () => {
    const { results } = await read('hostile');
    expect(results[0]?.ruleId).toBe('floodgate/hate');
    expect(results[0]?.taxa?.map(({ id }) => id)).toEqual(['vcr', 'LLM01:2025', 'AML.T0054', 'hte']);
    expect(results[0]?.message.text).not.toMatch(/calc/);
  });
});

describe('export --format markdown', () => {
  it('says how often it succeeded, in which ways, what was not tested, and where it comes from', async () => {
    const text = await exported('one', 'markdown');
    expect(text).toContain('| GFlowNet | 60% (45% to 74%) | 40 | 2 |');
    expect(text).toContain(`| 1 | 15 | \`${SAY.slice(0, 12)}\` | \`[masked: 3 words]\` | – |`);
    expect(text).toMatch(/MLCommons[^\n]*Tested: none\. Not tested: Violent Crimes \(vcr\)/);
    expect(text).toContain('| run | `one` |');
    expect(text).not.toMatch(/hidden phrase/);
    expect(await exported('one', 'markdown', '--show-attacks')).toContain('`say hidden phrase`');
    expect(await exported('plain', 'markdown')).toContain('Causes were not looked for in this run');
  });

  it('shows a text as code that ends nowhere else', () => {
    expect(codeSpan('a`b')).toBe('``a`b``');
    expect(codeSpan('`a``')).toBe('``` `a`` ```');
    expect(codeSpan('x | y\n<b>@me')).toBe('`x \\| y\\n<b>@me`');
    expect(codeSpan('')).toBe('`  `');
    expect(codeSpan('\u001b[31m')).toBe('`\\u{1b}[31m`');
  });
});

const inspectSchema = z.looseObject({
  version: z.literal(2),
  status: z.literal('success'),
  eval: z.looseObject({
    created: z.string(),
    task: z.string(),
    model: z.string(),
    dataset: z.looseObject({ samples: z.number() }),
  }),
  results: z.looseObject({
    total_samples: z.number(),
    scores: z.array(
      z.looseObject({ name: z.string(), metrics: z.record(z.string(), z.looseObject({ value: z.number() })) }),
    ),
  }),
  samples: z.array(
    z.looseObject({
      id: z.number(),
      epoch: z.number(),
      input: z.string(),
      target: z.string(),
      messages: z.array(z.looseObject({ role: z.enum(['user', 'assistant']), content: z.string() })),
      output: z.looseObject({ model: z.string(), choices: z.array(z.looseObject({ stop_reason: z.string() })) }),
      scores: z.record(z.string(), z.looseObject({ value: z.number() })),
      metadata: z.looseObject({ stage: z.string() }),
    }),
  ),
});

describe('export --format inspect-log', () => {
  it('holds the evaluations, a response a sample, with the scores of every judge that gave one', async () => {
    const log = inspectSchema.parse(JSON.parse(await exported('one', 'inspect-log', '--show-attacks')));
    expect(log.eval).toMatchObject({ task: 'floodgate', model: 'toy-target', created: '1970-01-01T00:00:00+00:00' });
    expect(log.samples).toHaveLength((20 + 40 + HOSTILE.length) * 2);
    expect(log.results.total_samples).toBe(log.samples.length);
    expect(new Set(log.samples.map(({ id, epoch }) => `${id} ${epoch}`)).size).toBe(log.samples.length);
    const [scored, refused] = log.samples.filter(({ metadata }) => metadata.stage === 'ppo');
    expect(scored?.messages.map(({ content }) => content)).toEqual([HOSTILE[0], HOSTILE[0]]);
    expect(Object.keys(scored?.scores ?? {})).toEqual(['other', 'trainer']);
    expect(refused).toMatchObject({ scores: {}, output: { choices: [{ stop_reason: 'content_filter' }] } });
    const other = log.results.scores.find(({ name }) => name === 'other');
    expect(other?.metrics['asr gflownet']?.value).toBe(0.6);
  });
});
