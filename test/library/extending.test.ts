import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig, openJudge, openTarget, type ReportedRun, resumeRun, runCampaign } from 'floodgate';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import '../../examples/extending/attack-length.mjs';
import '../../examples/extending/crossover-stage.mjs';
import '../../examples/extending/huber-vargrad.mjs';
import '../../examples/extending/parrot-target.mjs';
import '../../examples/extending/shouting-judge.mjs';
import { writeFile } from 'node:fs/promises';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';

const CONFIG = `
authorisation: a random model of this test
threads: 1
attacker: { model: ./attacker, metaPrompt: say, minTokens: 2, maxTokens: 6, lora: { rank: 8, alpha: 8 } }
seeds: { path: seeds.txt }
target: { kind: parrot, annoyedBy: [z], responses: 2 }
judges:
  training: { kind: shouting, least: 2 }
  evaluation: [{ kind: lexicon, name: enough, rules: [{ terms: [enough], weight: 0.9 }] }]
encoder: { model: ./encoder }
attackers: [sft, gflownet, crossover]
sft: { updates: 8, batchSize: 8, learningRate: 1.0e-3, warmupUpdates: 2 }
gflownet:
  objective: huber
  huber: { delta: 2 }
  updates: 60
  batchSize: 16
  accumulation: 1
  learningRate: 1.0e-2
  warmupUpdates: 5
reward: { beta: 0.3, temperature: { from: 1, to: 1, updates: 0 } }
watch: { everyUpdates: 0 }
crossover: { tries: 3 }
evaluation: { attacks: 64, responses: 2 }
`;

describe('a campaign of five own parts, through the public entry', () => {
  let tiny: TinyCampaign;
  let run: ReportedRun;

  beforeAll(async () => {
    tiny = await createTinyCampaign();
    const file = join(tiny.folder, 'own.yaml');
    await writeFile(file, CONFIG);
    const { runsFolder } = tiny;
    run = await runCampaign({ config: await loadConfig(file), runsFolder, name: 'own', ifTaken: 'refuse' }, tiny.io());
  });
  afterAll(() => tiny.remove());

  const figure = (stage: string, metric: string): number | null | undefined =>
    run.report.stages.find(({ name }) => name === stage)?.metrics[metric]?.value;

  it('trains by the objective, against the target, for the judge: the policy learns what annoys', () => {
    expect(figure('sft', 'asr')).toBeLessThan(0.4);
    expect(figure('gflownet', 'asr')).toBeGreaterThan((figure('sft', 'asr') as number) + 0.3);
  });

  it('measures the stage, counting what it tried while it drew', () => {
    expect(figure('crossover', 'asr')).not.toBeNull();
    const { evaluationCost } = run.report.stages.find(({ name }) => name === 'crossover') ?? {};
    expect(evaluationCost?.targetCalls).toBe(64 * 3 * 2 + 64 * 2);
    expect(figure('crossover', 'attackerTargetCalls')).toBe(64 * 3 * 2);
  });

  it('has the metric for every attacker, in the figures and on the page', () => {
    for (const stage of ['sft', 'gflownet', 'crossover']) expect(figure(stage, 'attackWords')).toBeGreaterThan(0);
    const page = readFileSync(run.pagePath, 'utf8');
    expect(page).toContain('words an attack');
    expect(page).toContain('Crossover');
  });

  it('leaves the folder of a run, which can be resumed', async () => {
    const before = readFileSync(run.reportPath, 'utf8');
    expect(JSON.parse(before)).toEqual(run.report);
    const { report } = await resumeRun(run.folder, tiny.io());
    expect(report.stages.map(({ metrics }) => metrics)).toEqual(run.report.stages.map(({ metrics }) => metrics));
  });

  it('refuses keys that a part does not have, naming them', async () => {
    const bad = join(tiny.folder, 'bad.yaml');
    await writeFile(bad, CONFIG.replace('tries: 3', 'trys: 3').replace('annoyedBy: [z]', 'annoyedBy: []'));
    await expect(loadConfig(bad)).rejects.toThrow(/crossover\.trys: unknown key, did you mean crossover\.tries/);
    await expect(loadConfig(bad)).rejects.toThrow(/target\.annoyedBy: got \[\], expected at least 1/);
  });
});

describe('one part alone', () => {
  it('is opened by its section of a config', async () => {
    const { target } = await openTarget({ kind: 'parrot', annoyedBy: ['z'] });
    const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 };
    const [answers] = await target.ask([{ attack: 'hello', streamName: ['a'] }], { responses: 2, decode });
    expect(answers).toMatchObject([{ text: 'you said hello' }, { text: 'you said hello' }]);
    await target.close();
    const judge = await openJudge({ kind: 'shouting' });
    const exchange = (response: string) => ({ attack: 'a', response });
    expect(await judge.score([exchange('GO AWAY now'), exchange('fine')])).toEqual([
      { kind: 'scored', unsafe: 2 / 3 },
      { kind: 'scored', unsafe: 0 },
    ]);
    await judge.close();
  });

  it('is refused with the key at fault', async () => {
    await expect(openTarget({ kind: 'parrot' })).rejects.toMatchObject({ code: 'config' });
    await expect(openTarget({ kind: 'parott', annoyedBy: ['z'] })).rejects.toThrow(/kind.*local, .*scripted.*parrot/);
    await expect(openJudge({ kind: 'shouting', most: 3 })).rejects.toThrow(/most/);
  });
});
