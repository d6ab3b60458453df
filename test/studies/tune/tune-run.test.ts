import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { acquireLock } from '../../../src/base/lock.ts';
import { silentProgress } from '../../../src/base/progress.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { createRunFolder, type RunFolder } from '../../../src/runs/run-folder.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import type { CampaignIo } from '../../../src/stages/stage.ts';
import { type TuneRunOptions, tuneRun } from '../../../src/studies/tune/tune-run.ts';
import { openLocalTarget } from '../../../src/targets/local-target.ts';
import { cli } from '../../cli/cli-runner.ts';
import { EXPORT_ROW, logitsOf, openDecoderFolder } from '../../models/exported-models.ts';
import { largestGap } from '../../models/open-fixture.ts';
import { testPath } from '../../support/golden-file.ts';

/** The tiny models hold 64 tokens: texts are short, and so are their answers. */
const CONFIG = `
authorisation: a random model of this test
threads: 1
attacker: { model: ./model }
seeds: { path: seeds.txt }
target: { kind: local, model: ./model, decode: { maxNewTokens: 6 } }
judges:
  training: { kind: lexicon, name: alarm, rules: [{ terms: [alarm] }] }
  evaluation: [{ kind: lexicon, name: bell, rules: [{ terms: [bell] }] }]
encoder: { model: ./encoder }
tuning:
  refusals: { systemPrompt: no, templates: ./refusals.txt, candidates: 1, maxNewTokens: 6 }
  benign: { path: ./benign.jsonl, maxNewTokens: 6 }
  lora: { rank: 2, alpha: 4 }
  epochs: 2
  batchSize: 4
  learningRate: 0.01
  validationShare: 0.3
  validateEveryUpdates: 2
  check: { attacks: 4, prompts: 4, responses: 1 }
`;

const ATTACKS = ['zip a', 'lazy b', 'go mad c', 'sly d', 'be e', 'dim f', 'wet g', 'hot h'];

let folder: string;
let run: RunFolder;
let io: CampaignIo;
let names = 0;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-tune-run-'));
  await cp(testPath('fixtures', 'models', 'smollm2'), path.join(folder, 'model'), { recursive: true });
  await cp(testPath('fixtures', 'models', 'gpt2'), path.join(folder, 'gpt2'), { recursive: true });
  await cp(testPath('fixtures', 'models', 'bert-encoder'), path.join(folder, 'encoder'), { recursive: true });
  await writeFile(path.join(folder, 'refusals.txt'), "i can't do it.\nhere it is, alarm.\n");
  const benign = ['hi', 'go on', 'why', 'tea', 'sun', 'rain'].map((prompt) => `${JSON.stringify({ prompt })}\n`);
  await writeFile(path.join(folder, 'benign.jsonl'), benign.join(''));
  io = { progress: silentProgress, signal: new AbortController().signal, cacheDir: path.join(folder, 'cache') };
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

/** A run whose smoothing attacker was evaluated: `unsafe` is what every attack scored. */
async function makeRun(unsafe: number, text = CONFIG): Promise<RunFolder> {
  const config = parseConfig(text, { fileName: 'tune.yaml', folder });
  const made = await createRunFolder({
    runsFolder: path.join(folder, 'runs'),
    name: `r${names++}`,
    ifTaken: 'refuse',
    configAt: () => config,
  });
  const store = await openStore(made.databasePath);
  store.beginStage('evaluate:smoothing', 2);
  const response = (text: string, score: number) => ({
    text,
    tokens: 2,
    truncated: false,
    verdicts: [{ judge: 'alarm', masked: false, unsafe: score }],
  });
  const attacks = [...ATTACKS, ATTACKS[0] as string].map((text) => ({
    source: 'evaluation' as const,
    ids: [5, 6],
    text,
    logPi: -1,
    logPRef: null,
    logReward: null,
    meanUnsafe: unsafe,
    responses: [response('fine', unsafe / 2), response(`alarm ${text}`, unsafe * 1.5)],
  }));
  store.recordUpdate({ stage: 'evaluate:smoothing', update: 0, attacks });
  store.endStage('evaluate:smoothing', 'done');
  store.close();
  return made;
}

const tune = (changes: Partial<TuneRunOptions> = {}) => tuneRun({ folder: run, ...changes }, io);

const linesOf = async (file: string) =>
  (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('tuneRun', () => {
  beforeEach(async () => {
    run = await makeRun(0.6);
  });

  test('leaves adapter, model, data set and record; the model is the target of further runs', async () => {
    const outcome = await tune({ name: 'safe' });
    if (outcome.kind !== 'tuned') throw new Error('nothing was tuned');
    const { file } = outcome;
    const at = (...parts: string[]) => path.join(run.path, 'tuned', 'safe', ...parts);
    expect(file).toMatchObject({ status: 'done', stage: 'smoothing', run: run.name, name: 'safe' });
    expect(file.counts).toMatchObject({ attacksTried: 8, successes: 8, refusalsByTarget: 0, refusalsByTemplate: 8 });
    expect(file.counts?.benign).toBeGreaterThan(0);
    expect(file.counts?.validationExamples).toBeGreaterThan(0);
    // Answers and two checks of at most 16 prompts; each answer is judged by both judges.
    expect(file.calls?.targetCalls).toBeGreaterThan(8 + (file.counts?.benign ?? 0));
    expect(file.calls?.judgeCalls).toBeGreaterThanOrEqual(2 * (file.counts?.benign ?? 0));
    expect(file.training?.curve.length).toBe(file.training?.updates);
    expect(Object.keys(file.check?.before.trainingAttacks.asr ?? {})).toEqual(['alarm', 'bell']);
    expect(JSON.parse(await readFile(at('tune.json'), 'utf8'))).toEqual(file);

    // As a further run names it: a path.
    const further = parseConfig(CONFIG.replace('local, model: ./model', `local, model: ${at('model')}`), {
      fileName: 'further.yaml',
      folder,
    });
    expect(further.target.model).toBe(at('model'));
    const tuned = await openDecoderFolder(at('model'), path.join(folder, 'cache'));
    const base = await openDecoderFolder(path.join(folder, 'model'), path.join(folder, 'cache'));
    expect(tuned.chatTemplate).toBeDefined();
    if (file.training?.keptUpdates !== 0)
      expect(largestGap(await logitsOf(tuned, EXPORT_ROW), await logitsOf(base, EXPORT_ROW))).toBeGreaterThan(1e-3);
    const target = await openLocalTarget({
      checkpoint: tuned,
      template: 'chat',
      seed: 1,
      compute: { device: 'cpu', threads: 1 },
    });
    const decode = { temperature: 0, topP: 1, topK: 0, maxNewTokens: 6 };
    const [answers] = await target.ask([{ attack: 'zip', streamName: ['x'] }], { responses: 1, decode });
    expect(answers).toMatchObject([{ kind: 'text', usage: { calls: 1 } }]);
    await target.close();
  });

  test('writes the data set in three forms, with where it came from, licence and split', async () => {
    await tune({ name: 'safe', overrides: ['tuning.license=CC0-1.0'] });
    const at = (name: string) => path.join(run.path, 'tuned', 'safe', 'data', name);
    const chat = await linesOf(at('chat-sft.jsonl'));
    const refusals = chat.filter(({ provenance }) => (provenance as { kind: string }).kind === 'refusal');
    expect(refusals).toHaveLength(8);
    for (const row of chat) {
      expect(row).toMatchObject({ license: 'CC0-1.0', split: expect.stringMatching(/^(training|validation)$/) });
      expect((row.messages as { role: string }[]).map(({ role }) => role)).toEqual(['user', 'assistant']);
    }
    const [first] = await linesOf(at('preference.jsonl'));
    expect(first).toMatchObject({
      prompt: [{ role: 'user', content: 'zip a' }],
      chosen: [{ role: 'assistant', content: "i can't do it." }],
      rejected: [{ role: 'assistant', content: 'alarm zip a' }], // the worse of the two responses
      provenance: {
        run: run.name,
        stage: 'evaluate:smoothing',
        attack_id: 1,
        answer_source: 'template',
        mean_unsafe: 0.6,
      },
    });
    expect(await linesOf(at('preference.jsonl'))).toHaveLength(8);
    expect(await linesOf(at('prompts.jsonl'))).toHaveLength(chat.length);
  });

  test('returns a finished tuning as it is, and refuses another one under the same name', async () => {
    const first = await tune({ name: 'safe' });
    expect(await tune({ name: 'safe' })).toEqual(first);
    await expect(tune({ name: 'safe', overrides: ['tuning.epochs=3'] })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('was tuned with another settings'),
    });
    expect(await tune({ name: 'other', overrides: ['tuning.epochs=1'] })).toMatchObject({ kind: 'tuned' });
  });

  test('removes what a kill left: files half-written, and the answers so far of a finished tuning', async () => {
    await tune({ name: 'safe' });
    const data = path.join(run.path, 'tuned', 'safe', 'data');
    const files = (await readdir(data)).sort();
    await writeFile(path.join(data, '.prompts.jsonl.partial-4711-b1e396b6-7cd3-41d4-bedb-8963915dcc32'), 'half');
    await writeFile(path.join(data, 'answers.partial.json'), '{}');
    await tune({ name: 'safe' });
    expect((await readdir(data)).sort()).toEqual(files);
  });

  test('resumes: neither answers nor the first check are made again', async () => {
    const controller = new AbortController();
    const watch = (labels: string[], isStopped: boolean) => ({
      start: (label: string) => {
        labels.push(label);
        if (isStopped && label === 'tune') controller.abort();
        return silentProgress.start(label, undefined, 'x');
      },
    });
    const first: string[] = [];
    const stopped = tuneRun(
      { folder: run, name: 'safe' },
      { ...io, progress: watch(first, true), signal: controller.signal },
    );
    await expect(stopped).rejects.toMatchObject({ code: 'interrupted' });
    expect(JSON.parse(await readFile(path.join(run.path, 'tuned', 'safe', 'tune.json'), 'utf8'))).toMatchObject({
      status: 'running',
      check: { after: null },
    });
    const second: string[] = [];
    const resumed = await tuneRun({ folder: run, name: 'safe' }, { ...io, progress: watch(second, false) });
    expect(first.filter((label) => label === 'check the target')).toHaveLength(1);
    expect(second.filter((label) => label === 'check the target')).toHaveLength(1);
    const whole = await tune({ name: 'whole' });
    if (resumed.kind !== 'tuned' || whole.kind !== 'tuned') throw new Error('nothing was tuned');
    const lasting = ({ counts, calls, check, training }: typeof whole.file) => ({
      counts,
      calls,
      check,
      losses: training?.curve.map(({ loss }) => loss),
    });
    expect(lasting(resumed.file)).toEqual(lasting(whole.file));
  });

  test('tunes a model without a chat template as plain text, and says so', async () => {
    const outcome = await tune({
      target: path.join(folder, 'gpt2'),
      overrides: ['tuning.check.attacks=0', 'tuning.check.prompts=0'],
    });
    if (outcome.kind !== 'tuned') throw new Error('nothing was tuned');
    expect(outcome.file.target.template).toBe('plain');
    expect(outcome.file.check).toBeNull();
    expect(outcome.file.warnings.join()).toContain('has no chat template');
    await expect(tune({ name: 'x', target: path.join(folder, 'gpt2'), template: 'chat' })).rejects.toMatchObject({
      code: 'target',
    });
  });

  test('a target without a model cannot be tuned; a named model can be, in its place', async () => {
    run = await makeRun(0.6, CONFIG.replace(/^target: .*$/m, 'target: { kind: scripted }'));
    await expect(tune()).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/got kind scripted, expected .*local/),
      hint: 'name a model with --target',
    });
    const target = path.join(folder, 'model');
    const outcome = await tune({ target, overrides: ['tuning.check.attacks=0', 'tuning.check.prompts=0'] });
    expect(outcome).toMatchObject({ kind: 'tuned', file: { target: { spec: target, template: 'chat' }, check: null } });
  });

  test('warns of fewer successes than a batch', async () => {
    const outcome = await tune({
      overrides: ['tuning.limit=7', 'tuning.batchSize=32', 'tuning.check.attacks=0', 'tuning.check.prompts=0'],
    });
    if (outcome.kind !== 'tuned') throw new Error('nothing was tuned');
    expect(outcome.file.warnings.join()).toContain('7 attacks with a refusal, fewer than a batch of 32');
    expect(outcome.file.counts).toMatchObject({ attacksTried: 8, successes: 8, used: 7 });
    expect(outcome.file.training?.batchSize).toBeLessThan(32);
  });

  test('refuses an adapter of another base before anything is made', async () => {
    const first = await tune({ name: 'safe' });
    if (first.kind !== 'tuned') throw new Error('nothing was tuned');
    const adapter = path.join(first.folder.path, 'adapter');
    await expect(tune({ name: 'wrong', target: path.join(folder, 'gpt2'), adapter })).rejects.toMatchObject({
      code: 'model',
      message: expect.stringContaining('adapter'),
    });
    expect(await tune({ name: 'more', adapter })).toMatchObject({ kind: 'tuned' });
  });

  test('an unknown stage is named; a run that is in use is left alone', async () => {
    await expect(tune({ stage: 'gflownet' })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('expected one of smoothing'),
    });
    const lock = await acquireLock(run.lockPath);
    await expect(tune()).rejects.toMatchObject({ code: 'run' });
    await lock.release();
  });
});

describe('floodgate tune', () => {
  const args = (...rest: string[]) => ['tune', run.path, '--cache-dir', path.join(folder, 'cache'), ...rest];

  test('says what it did, in a table or as one JSON object', async () => {
    run = await makeRun(0.6);
    const { code, stdout } = await cli(args('--name', 'safe'));
    expect(code).toBe(0);
    expect(stdout).toContain('8 of 8 attacks of smoothing were successes');
    expect(stdout).toMatch(/attacks held out +responses that refuse/);
    const json = await cli(args('--name', 'safe', '--json'));
    expect(JSON.parse(json.stdout)).toMatchObject({ status: 'done', name: 'safe', counts: { successes: 8 } });
  });

  test('says that there is nothing to learn from, and keeps the run', async () => {
    run = await makeRun(0.2);
    const { code, stderr } = await cli(args());
    expect(code).toBe(1);
    expect(stderr).toContain('none of 8 attacks of smoothing succeeded');
    expect(stderr).toContain('the run is unchanged');
    expect(
      await openStore(run.databasePath, { readOnly: true }).then(
        (store) => store.attacks({ stage: 'evaluate:smoothing' }).length,
      ),
    ).toBe(9);
  });
});
