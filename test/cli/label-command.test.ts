import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { sha256Of } from '../../src/base/canonical-json.ts';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder, recordRunStatus } from '../../src/runs/run-folder.ts';
import { readLabels } from '../../src/runs/store/label-store.ts';
import { answerKey } from '../../src/runs/store/labels.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { evaluationStage } from '../../src/runs/store/stage-name.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { FIXTURE_CAUSES, fixtureManifest, recordFixtureCauses } from '../report/fixture-run.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { cli } from './cli-runner.ts';

const place = mkdtempSync(join(tmpdir(), 'floodgate-label-'));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
const STAGE = evaluationStage('gflownet');
const COUNT = 60;

/** The truth: the first 20 are unsafe. The judge finds 15 of them, and calls 10 of the 40 others unsafe. */
const isUnsafe = (i: number): boolean => i < 20;
const isCalled = (i: number): boolean => i < 15 || (i >= 20 && i < 30);
const answerOf = (i: number): string => (i === COUNT - 1 ? '=1+1' : `answer ${i}`);

function row(i: number) {
  const verdicts = [
    { judge: 'other', masked: false, unsafe: isCalled(i) ? 0.9 : 0.1 },
    { judge: 'other', masked: true, unsafe: 0 },
  ];
  const said = { text: answerOf(i), tokens: 1, truncated: false, verdicts };
  const refusal = { text: '', tokens: 0, truncated: false, refused: 'filter', verdicts: [] };
  return {
    source: 'evaluation',
    ids: [i],
    text: `attack ${i}`,
    responses: i === 0 ? [said, refusal] : [said],
  } as const;
}

let runsDir: string;
let folder: string;
let runs = 0;
beforeEach(async () => {
  runsDir = join(place, `runs-${++runs}`);
  const run = await createRunFolder({ runsFolder: runsDir, name: 'r', ifTaken: 'refuse', configAt: () => config });
  folder = run.path;
  const judges = { training: 'trainer', evaluation: ['other'] };
  await writeManifest(run.manifestPath, fixtureManifest(config, { run: 'r', judges }));
  const store = await openStore(run.databasePath);
  recordRunStatus(store, 'done');
  store.beginStage(STAGE, 1);
  const metrics = [{ name: 'asr', judge: 'other', value: 25 / 60, low: 0.3, high: 0.5, n: 60, method: 'wilson' }];
  store.recordUpdate({ stage: STAGE, update: 0, attacks: Array.from({ length: COUNT }, (_, i) => row(i)), metrics });
  store.endStage(STAGE, 'done');
  recordFixtureCauses(store, 'gflownet', FIXTURE_CAUSES);
  store.close();
});

async function label(...args: string[]) {
  return cli(['label', ...args, '--runs-dir', runsDir]);
}
async function labelled(...args: string[]) {
  const { code, stderr, stdout } = await label(...args, '--json');
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}
const labels = () => readLabels(join(folder, 'labels.db'));
const listed = async (...args: string[]) => (await labelled('list', 'r', ...args)).labels;

describe('floodgate label', () => {
  it('says what an answer is in truth, with who, when and why, and changes no verdict', async () => {
    const digest = () => sha256Of(readFileSync(join(folder, 'run.db')));
    const before = digest();
    const said = await label('verdict', 'r', '3', '1', 'safe', '--note', 'a joke', '--who', 'ada');
    expect(said.stdout).toMatch(/ada +answer 1 to attack 3 +safe +a joke/);
    expect(digest()).toBe(before);
    expect(await listed()).toMatchObject([
      {
        kind: 'verdict',
        subject: answerKey('attack 2', 'answer 2'),
        value: 'safe',
        who: 'ada',
        attack: 3,
        response: 0,
      },
    ]);
    await label('verdict', 'r', '3', '1', 'unsafe', '--judge', 'other');
    expect(labels().find('verdict', answerKey('attack 2', 'answer 2'), 'other')?.value).toBe('unsafe');
    await label('verdict', 'r', '3', '1', '--withdraw');
    expect(await listed()).toMatchObject([{ judge: 'other', value: 'unsafe' }]);
    expect(await listed('--all')).toHaveLength(3);
  });

  it('says that an attack is a duplicate, and names wordings and ways', async () => {
    await label('duplicate', 'r', '5', '4');
    await label('wording', 'r', '5', 'counting');
    const sha256 = causeSha256('say hidden phrase');
    const way = await label('way', 'r', sha256.slice(0, 12), 'asks for the phrase');
    expect(way.code, way.stderr).toBe(0);
    const { stdout } = await label('list', 'r');
    expect(stdout).toMatch(/attack 5 +duplicate of attack 4/);
    expect(stdout).toMatch(/wording of attack 5 +counting/);
    expect(labels().find('way', sha256)?.value).toBe('asks for the phrase');
  });

  it('calls the verdict of one judge wrong or right, and takes back by the number of the list', async () => {
    const subject = answerKey('attack 2', 'answer 2');
    expect((await label('verdict', 'r', '3', '1', 'wrong', '--judge', 'other')).code).toBe(0);
    expect(labels().find('verdict', subject, 'other')).toMatchObject({ value: 'safe', judge: 'other' });
    expect(labels().find('verdict', subject)).toBeUndefined();
    await label('verdict', 'r', '3', '1', 'right', '--judge', 'other');
    expect(labels().find('verdict', subject, 'other')?.value).toBe('unsafe');
    const { stdout } = await label('list', 'r');
    expect(stdout).toMatch(/^2 +\d{4}-\d\d-\d\d \d\d:\d\d +\S+ +answer 1 to attack 3 +unsafe, for other/m);
    const taken = await label('withdraw', 'r', '2', '--who', 'ben');
    expect(taken.stdout).toMatch(/^3 .* ben +answer 1 to attack 3 +withdrawn/m);
    expect(await listed()).toEqual([]);
    expect(await listed('--all')).toHaveLength(3);
  });

  it.each([
    [['verdict', 'r', '1', '1', 'wrong'], 'wrong is said of a judge that scored the answer'],
    [['verdict', 'r', '1', '1', 'safe', '--judge', 'nobody'], 'got judge nobody, expected other'],
    [['withdraw', 'r', '1'], 'no label with the number 1 holds'],
    [['verdict', 'r', '61', '1', 'safe'], 'it has no attack 61'],
    [['verdict', 'r', '2', '2', 'safe'], 'it has no answer 2 to attack 2'],
    [['verdict', 'r', '1', '2', 'safe'], 'is a refusal'],
    [['verdict', 'r', '1', '1', 'perhaps'], 'expected unsafe or safe; of a verdict, right or wrong'],
    [['verdict', 'r', '1', '1'], 'expected either a value or --withdraw'],
    [['verdict', 'r', '1', '1', 'safe', '--withdraw'], 'expected either a value or --withdraw'],
    [['verdict', 'r', '1', '1', 'safe', '--who', ' '], '--who'],
    [['duplicate', 'r', '5', '5'], 'duplicate of itself'],
    [['way', 'r', 'ffffff', 'name'], 'got cause ffffff, expected the first letters of one of'],
    [['list', 'nobody'], 'no such run'],
  ])('%j is refused with its reason', async (args, message) => {
    const { code, stderr } = await label(...args);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
    expect(existsSync(join(folder, 'labels.db')) ? labels().all : []).toEqual([]);
  });

  it('has examples, and floodgate rm removes the labels with the run', async () => {
    expect((await cli(['label', '--help'])).stdout).toContain('floodgate label import first sample.csv');
    await label('wording', 'r', '5', 'counting');
    expect((await cli(['rm', 'r', '--yes', '--runs-dir', runsDir])).code).toBe(0);
    expect(existsSync(folder)).toBe(false);
  });

  it('travels with a copy of the folder', async () => {
    await label('wording', 'r', '5', 'counting');
    cpSync(folder, join(runsDir, 'copy'), { recursive: true });
    expect((await labelled('list', 'copy')).labels).toMatchObject([{ value: 'counting' }]);
  });
});

interface SampleRow {
  subject: string;
  attack_id: string;
  response_position: string;
  attack: string;
  response: string;
  label: string;
}

/** Draws answers to label; with `count` of them labelled by the truth. */
async function drawSample(count: number, ...args: string[]): Promise<SampleRow[]> {
  const out = join(place, `sample-${runs}.csv`);
  const { code, stderr } = await label('sample', 'r', '--count', String(count), '--out', out, ...args);
  expect(code, stderr).toBe(0);
  return parse(readFileSync(out, 'utf8'), { columns: true, bom: true }) as SampleRow[];
}

async function importRows(rows: readonly object[]) {
  const file = join(place, `labels-${runs}.jsonl`);
  writeFileSync(file, rows.map((each) => JSON.stringify(each)).join('\n'));
  return label('import', 'r', file);
}

const truly = (rows: readonly SampleRow[]) =>
  rows.map((each) => ({ ...each, label: isUnsafe(Number(each.attack_id) - 1) ? 'unsafe' : 'safe' }));

describe('a random sample of answers', () => {
  it('is drawn in one order, without what is labelled already, and its texts are masked unless asked for', async () => {
    const first = await drawSample(10);
    expect(first.map(({ attack }) => attack)).toEqual(Array(10).fill('[masked: 2 words]'));
    expect(first.every((each) => each.label === '')).toBe(true);
    const ids = first.map(({ attack_id }) => Number(attack_id));
    expect([...ids].sort((a, b) => a - b)).not.toEqual(ids);
    await importRows(truly(first.slice(0, 4)));
    const second = await drawSample(60, '--show-attacks');
    expect(second).toHaveLength(COUNT - 4);
    expect(second.slice(0, 6).map(({ subject }) => subject)).toEqual(first.slice(4).map(({ subject }) => subject));
    // No cell of the file is a formula to a spreadsheet.
    expect(second.map(({ response }) => response)).toContain("'=1+1");
  });

  it('comes back with labels in a CSV too; rows without one are counted, and a wrong row stops them all', async () => {
    const rows = await drawSample(4);
    const file = join(place, 'filled.csv');
    const lines = rows.map(({ attack_id, response_position }, i) => [
      attack_id,
      response_position,
      ['1', 'safe', '', 'NO'][i],
    ]);
    writeFileSync(file, ['Attack_ID,response_position,Label', ...lines.map((cells) => cells.join(','))].join('\n'));
    expect((await label('import', 'r', file)).stdout).toBe('label import: 3 labels of run r; 1 row without a label\n');
    expect(labels().all.map(({ value }) => value)).toEqual(['unsafe', 'safe', 'safe']);
    for (const [wrong, code, message] of [
      [{ attack_id: 999, response_position: 0, label: 'safe' }, 2, 'it has no attack 999'],
      [{ attack_id: 'x', response_position: 0, label: 'safe' }, 2, 'row 2: attack_id: got "x"'],
      [{ attack_id: 1, response_position: 0, label: 'perhaps' }, 2, 'row 2: label: got "perhaps"'],
      [
        { attack_id: 1, response_position: 0, label: 'safe', subject: 'a'.repeat(64) },
        1,
        'another text is at this place',
      ],
      [{ kind: 'opinion', attack_id: 1, value: 'x' }, 2, 'row 2: kind: got opinion'],
    ] as const) {
      const outcome = await importRows([{ attack_id: 9, response_position: 0, label: 'safe' }, wrong]);
      expect(outcome.stderr).toContain(message);
      expect(outcome.code).toBe(code);
    }
    expect(labels().history).toHaveLength(3);
  });
});

const calibrate = (...args: string[]) => cli(['judge', 'calibrate', 'r', '--runs-dir', runsDir, ...args]);
const shownCorrection = async () => {
  const { report } = JSON.parse((await cli(['show', 'r', '--runs-dir', runsDir, '--json'])).stdout);
  return report.stages[0].judges.find(({ name }: { name: string }) => name === 'other').corrected;
};

describe('judge calibrate RUN', () => {
  it('measures the judge on the labels of the run, and corrects its rates', async () => {
    expect((await calibrate()).stderr).toContain('floodgate label sample r draws answers to label');
    await importRows(truly(await drawSample(COUNT)));
    const { stdout } = await calibrate();
    expect(stdout).toContain(
      'judge other, its verdicts in the run\n60 examples, 20 of them unsafe\na random sample of the 60',
    );
    const { calibration, labels: counts, scoredBy, run } = JSON.parse((await calibrate('--json')).stdout);
    expect(counts).toEqual({ answers: 60, labelled: 60, inSample: 60 });
    expect(scoredBy).toBe('run');
    expect(calibration.asRun.errors).toEqual({ sensitivity: { hits: 15, n: 20 }, specificity: { hits: 30, n: 40 } });
    // By hand: (25/60 + 30/40 - 1) / (15/20 + 30/40 - 1) = 1/3, the truth.
    expect(run.attackers[0].asRun.corrected.value).toBeCloseTo(1 / 3, 12);
  });

  it('warns of labels outside the random sample, and show corrects by the sample alone', async () => {
    const rows = truly(await drawSample(COUNT));
    // Only wrong verdicts, as a reader who looks for errors marks them: no correction comes of that.
    const wrong = rows.filter(({ attack_id, label: said }) => isCalled(Number(attack_id) - 1) !== (said === 'unsafe'));
    expect(wrong).toHaveLength(15);
    await importRows(wrong);
    const { stdout } = await calibrate();
    expect(stdout).toMatch(/^warning: 1[45] of them are not in the random sample/m);
    expect(await shownCorrection()).toBeUndefined();
    await importRows(rows.slice(0, 45));
    const corrected = await shownCorrection();
    const { labelled: all, inSample } = JSON.parse((await calibrate('--json')).stdout).labels;
    expect(inSample).toBeGreaterThanOrEqual(45);
    expect(all).toBeGreaterThan(inSample);
    expect(corrected).toMatchObject({ from: 'labels', threshold: 0.5 });
    expect(corrected.sensitivity.n).toBe(
      truly(rows.slice(0, inSample)).filter((each) => each.label === 'unsafe').length,
    );
    expect(corrected.sensitivity.n + corrected.specificity.n).toBe(inSample);
    expect((await cli(['show', 'r', '--runs-dir', runsDir])).stdout).toContain('unsafe answers, corrected');
  });

  it('keeps the errors with the run on request, and those come before the labels', async () => {
    await importRows(truly(await drawSample(COUNT)));
    expect(await shownCorrection()).toMatchObject({ from: 'labels', sensitivity: { hits: 15, n: 20 } });
    expect((await calibrate('--keep')).code).toBe(0);
    const kept = await shownCorrection();
    expect(kept).toMatchObject({ sensitivity: { hits: 15, n: 20 }, specificity: { hits: 30, n: 40 } });
    expect(kept).not.toHaveProperty('from');
  });

  it('takes the labels of one judge where it has its own', async () => {
    await importRows(truly(await drawSample(COUNT)));
    await label('verdict', 'r', '1', '1', 'safe', '--judge', 'other');
    const { calibration } = JSON.parse((await calibrate('--json')).stdout);
    expect(calibration).toMatchObject({ examples: 60, unsafeExamples: 19 });
  });
});

it('survives a resume: a label holds for its text, wherever the text is, and for no other text', async () => {
  await label('verdict', 'r', '2', '1', 'unsafe');
  await label('wording', 'r', '3', 'third');
  const store = await openStore(join(folder, 'run.db'));
  store.truncateAfter(STAGE, -1);
  store.beginStage('sft', 1);
  store.recordUpdate({
    stage: 'sft',
    update: 0,
    attacks: [{ source: 'fresh', ids: [], text: 'one more', responses: [] }],
  });
  store.beginStage(STAGE, 1);
  store.recordUpdate({ stage: STAGE, update: 0, attacks: Array.from({ length: COUNT }, (_, i) => row(i + 1)) });
  store.endStage(STAGE, 'done');
  store.close();
  const { attacks } = JSON.parse(
    (await cli(['show', 'r', '--attacks', '60', '--stage', 'gflownet', '--runs-dir', runsDir, '--json'])).stdout,
  ) as { attacks: { text: string; responses: { text: string }[] }[] };
  const held = attacks.filter(({ text, responses }) =>
    responses.some((each) => labels().find('verdict', answerKey(text, each.text)) !== undefined),
  );
  expect(held.map(({ text }) => text)).toEqual(['attack 1']);
});
