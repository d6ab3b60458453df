import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type AttackerCard, licenceOf } from '../../src/exports/attacker-card.ts';
import { attackerCardText } from '../../src/exports/attacker-card-text.ts';
import { readSafetensors } from '../../src/models/formats/safetensors.ts';
import { readRun } from '../../src/report/run-overview.ts';
import { intervalText, numberText } from '../../src/report/words/number-words.ts';
import type { AttackerFile } from '../../src/runs/attacker-folder.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { cli } from '../cli/cli-runner.ts';
import { openDecoderFolder } from '../models/exported-models.ts';
import { type AttackerRuns, createAttackerRuns } from './attacker-runs.ts';

let runs: AttackerRuns;
let out: string;
let card: string;
let file: AttackerFile & { card: AttackerCard };

const read = async (folder: string) => ({
  card: await readFile(path.join(folder, 'README.md'), 'utf8'),
  file: JSON.parse(await readFile(path.join(folder, 'floodgate-attacker.json'), 'utf8')) as typeof file,
});

beforeAll(async () => {
  runs = await createAttackerRuns();
  out = runs.at('out');
  const { code, stderr } = await runs.attacker('export', 'first', '--stage', 'gflownet', '--out', out);
  expect([code, stderr.split('\n')[0]]).toEqual([0, expect.stringMatching(/^attacker export: first -> /)]);
  ({ card, file } = await read(out));
});
afterAll(() => runs.remove());

const reportOf = (folder: RunFolder) => readRun(folder, ({ report }) => report);

describe('the card', () => {
  it('has the figures of the report, with their intervals', async () => {
    const stage = (await reportOf(runs.first))?.stages.find(({ name }) => name === 'gflownet');
    const { figures } = file.card;
    for (const name of ['asr', 'uniqueAttacks', 'cosineDistance', 'vendi', 'referenceFailureRate', 'chao1']) {
      expect(figures[name], name).toBeDefined();
      expect(figures[name], name).toEqual(stage?.metrics[name]);
    }
    for (const name of Object.keys(figures)) expect(figures[name]).toEqual(stage?.metrics[name]);
    expect(figures.batchAsr).toBeUndefined(); // a curve of training is no figure of the attacker
    const asr = figures.asr as NonNullable<typeof figures.asr>;
    const [value, interval] = [numberText(asr.value, 'share'), intervalText(asr, 'share')];
    expect(interval).toMatch(/^[\d.]+–[\d.]+%$/);
    expect(card).toContain(`| Success rate | ${value} | ${interval} (95% interval) | 8 |`);
    expect(file.card.asrByJudge.map(({ judge }) => judge).sort()).toEqual(['bells', 'lexicon']);
  });

  it('counts the calls of the stages that made it, and of no other', async () => {
    const stages = (await reportOf(runs.first))?.stages ?? [];
    const gflownet = stages.find(({ name }) => name === 'gflownet');
    const calls = new Map(file.card.calls.map(({ work, ...cost }) => [work, cost]));
    expect(calls.get('training gflownet')).toEqual(gflownet?.cost);
    expect(calls.get('evaluation of gflownet')).toEqual(gflownet?.evaluationCost);
    expect([...calls.keys()].filter((work) => work.includes('smoothing'))).toEqual([]);
    expect(card).toContain(`| training gflownet | ${gflownet?.cost.targetCalls.toLocaleString('en-US')} |`);
  });

  it('names data, target, judges and settings, each with its hash', () => {
    const { data, target, judges, settings } = file.card;
    expect(data).toEqual({ seedsSha256: expect.stringMatching(/^[0-9a-f]{64}$/), seeds: 10, startedFrom: null });
    expect(card).toContain(`imitated 10 example attacks: a file with the sha256 \`${data.seedsSha256}\``);
    expect(target).toMatchObject({ name: 'scripted', kind: 'scripted' });
    expect(judges.map(({ name, role, isReported }) => [name, role, isReported])).toEqual([
      ['lexicon', 'reward', false],
      ['bells', 'evaluation', true],
    ]);
    const hashes = [target, ...judges].map(({ settingsSha256 }) => settingsSha256);
    expect(new Set(hashes).size).toBe(3);
    for (const hash of hashes) expect(card).toContain(hash);
    expect(settings).toMatchObject({ 'gflownet.updates': '5', 'attacker.lora.rank': '8', seed: '0' });
    expect(settings['smoothing.updates']).toBeUndefined();
  });

  it('says what it is for and what it does not say', () => {
    for (const heading of ['Intended use', 'Data', 'Figures', 'Calls', 'What this card does not say', 'Settings'])
      expect(card).toContain(`\n## ${heading}\n`);
    expect(card).toContain('authorised to test');
  });

  it('begins with the front matter that hubs read', () => {
    const [, header = ''] = /^---\n([\s\S]*?)\n---\n/.exec(card) ?? [];
    expect(parse(header)).toEqual({
      base_model: 'attacker',
      base_model_relation: 'adapter',
      library_name: 'peft',
      pipeline_tag: 'text-generation',
      tags: ['lora', 'red-teaming', 'safety', 'floodgate'],
    });
    const licence = licenceOf('smollm2-135m-instruct');
    const text = attackerCardText(
      { ...file, base: { ...file.base, spec: 'hf:HuggingFaceTB/SmolLM2-360M-Instruct', isPath: false } },
      { ...file.card, licence },
    );
    expect(text).toMatch(/\nlicense: apache-2.0\n/);
    expect(text).toMatch(/\nbase_model: HuggingFaceTB\/SmolLM2-360M-Instruct\n/);
    expect(licenceOf('hf:openai-community/gpt2')?.id).toBe('mit');
    expect([licenceOf('./gpt2'), licenceOf('hf:somebody/model')]).toEqual([null, null]);
  });

  it('and every other file hold no text of an attack, no path and no name of a person', async () => {
    const texts = await readRun(runs.first, (_overview, store) =>
      (store?.attacks({ stage: 'evaluate:gflownet' }) ?? []).map(({ text }) => text),
    );
    expect(texts.length).toBe(8);
    const seeds = (await readFile(runs.at('seeds.txt'), 'utf8')).split('\n');
    const secrets = [...texts, ...seeds, 'alarm bell', runs.tiny.folder, 'a random model of this test'];
    for (const name of await readdir(out)) {
      const content = await readFile(path.join(out, name), 'latin1');
      for (const secret of secrets.filter(({ length }) => length > 5)) expect(content, name).not.toContain(secret);
    }
  });
});

describe('PEFT', () => {
  it('finds the tensors and the settings that it expects', async () => {
    const { config } = await openDecoderFolder(runs.at('attacker'), runs.tiny.io().cacheDir as string);
    const { tensors, metadata } = await readSafetensors(path.join(out, 'adapter_model.safetensors'));
    const linear = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];
    const expected = Array.from({ length: config.layers }, (_, layer) =>
      linear.flatMap((name) => {
        const part = ['q_proj', 'k_proj', 'v_proj', 'o_proj'].includes(name) ? 'self_attn' : 'mlp';
        const module = `base_model.model.model.layers.${layer}.${part}.${name}`;
        return [`${module}.lora_A.weight`, `${module}.lora_B.weight`];
      }),
    ).flat();
    expect([...tensors.keys()].sort()).toEqual(expected.sort());
    for (const [name, { shape }] of tensors) expect(shape[name.includes('lora_A') ? 0 : 1], name).toBe(8);
    expect(metadata.get('format')).toBe('pt');
    const json = JSON.parse(await readFile(path.join(out, 'adapter_config.json'), 'utf8')) as object;
    expect(json).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      base_model_name_or_path: 'attacker',
      r: 8,
      lora_alpha: 8,
      bias: 'none',
      fan_in_fan_out: false,
    });
    expect([...(json as { target_modules: string[] }).target_modules].sort()).toEqual([...linear].sort());
  });
});

describe('attacker export', () => {
  it('says of a stage that was not evaluated that no figure is known', async () => {
    await runs.start('unmeasured', ['attackers=[gflownet]']);
    const { stdout } = await runs.attacker('export', 'unmeasured', '--stage', 'sft', '--out', runs.at('unmeasured'));
    expect(stdout).toContain('not evaluated');
    const { card: text, file: json } = await read(runs.at('unmeasured'));
    expect(text).toContain('This attacker was **not evaluated**');
    expect([json.card.figures, json.card.asrByJudge]).toEqual([{}, []]);
  });

  it('takes the last stage that leaves an adapter, and refuses one that trained every weight', async () => {
    await runs.start('full', ['smoothing.method=full']);
    const { stdout } = await runs.attacker('export', 'full', '--out', runs.at('full'));
    expect(stdout).toContain('stage gflownet of full');
    const refused = await runs.attacker('export', 'full', '--stage', 'smoothing', '--out', runs.at('never'));
    expect(refused.stderr).toMatch(/stage smoothing trained every weight[\s\S]*smoothing.method: as-attacker/);
    const last = await runs.attacker('export', 'first', '--out', runs.at('last'));
    expect(last.stdout).toContain('stage smoothing of first');
  });

  it('says of one that continues another attacker that it imitated nothing', async () => {
    await runs.start('next', ['attacker.from=run:first', 'attacker.fromStage=gflownet', 'attackers=[gflownet]']);
    await runs.attacker('export', 'next', '--out', runs.at('next'));
    const { card: text, file: json } = await read(runs.at('next'));
    expect(json.card.data.startedFrom).toBe('run:first, stage gflownet');
    expect(text).toContain('It continues an attacker trained earlier, `run:first, stage gflownet`');
  });

  it.each<[string, readonly string[], RegExp]>([
    ['a stage that was not trained', ['--stage', 'ppo'], /no checkpoint of stage ppo/],
    ['a stage that is none', ['--stage', 'x'], /stage x/],
    ['a folder that exists', ['--out', '.'], /exists already[\s\S]*--out/],
  ])('refuses %s', async (_name, args, message) => {
    const names = await readdir(runs.tiny.folder);
    const { code, stderr } = await runs.attacker('export', 'first', '--out', runs.at('refused'), ...args);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(await readdir(runs.tiny.folder)).toEqual(names);
  });

  it('refuses a base that is another by now', async () => {
    const config = runs.at('attacker', 'model.safetensors');
    const bytes = await readFile(config);
    const other = Buffer.from(bytes);
    other.writeFloatLE(0.5, other.length - 4);
    await writeFile(config, other);
    try {
      const { code, stderr } = await runs.attacker('export', 'first', '--out', runs.at('refused'));
      expect(code).toBeGreaterThan(0);
      expect(stderr).toMatch(/has the sha256 [0-9a-f]{64} now, expected [0-9a-f]{64}/);
    } finally {
      await writeFile(config, bytes);
    }
  });

  it('does not count seeds of a file that has changed since', async () => {
    const seeds = runs.at('seeds.txt');
    const text = await readFile(seeds, 'utf8');
    await writeFile(seeds, `${text}\none more`);
    await runs.attacker('export', 'first', '--out', runs.at('changed-seeds'));
    await writeFile(seeds, text);
    const { card: changed, file: json } = await read(runs.at('changed-seeds'));
    expect(json.card.data).toEqual({ ...file.card.data, seeds: null });
    expect(changed).toContain('an unknown number of example attacks');
  });
});

describe('the command line', () => {
  it('lists imported attackers, readable or not, and serves one by its name', async () => {
    expect((await runs.attacker('list')).stdout).toBe('no imported attackers\n');
    await runs.attacker('import', out, '--name', 'colleagues', '--base', runs.at('attacker'));
    await runs.attacker('import', out, '--name', 'broken', '--base', runs.at('attacker'));
    await writeFile(path.join(runs.tiny.runsFolder, 'broken', 'floodgate-attacker.json'), '{');
    const { stdout } = await runs.attacker('list');
    expect(stdout).toMatch(/colleagues +first\/gflownet +attacker +scripted +success rate \d/);
    expect(stdout).toMatch(/broken +unreadable: .*not JSON/);
    const again = await runs.attacker('import', out, '--name', 'colleagues', '--base', runs.at('attacker'));
    expect(again.stderr).toMatch(/colleagues exists already/);

    const stop = new AbortController();
    const shown: string[] = [];
    const write = (text: string) => {
      shown.push(text);
      stop.abort();
    };
    const place = ['--cache-dir', runs.tiny.io().cacheDir as string, '--json'];
    const served = ['serve', 'attacker:colleagues', '--port', '0', '--runs-dir', runs.tiny.runsFolder];
    await cli([...place, ...served], { signal: stop.signal, stdout: { write } });
    expect(JSON.parse(shown.join(''))).toMatchObject({ model: 'colleagues' });
    const absent = await cli([...place, 'serve', 'attacker:nobody', '--runs-dir', runs.tiny.runsFolder]);
    expect(absent.code).toBeGreaterThan(0);
  });

  it('stops at Ctrl-C and leaves nothing', async () => {
    const names = await readdir(runs.tiny.folder);
    const stopped = { signal: AbortSignal.abort() };
    const cacheDir = runs.tiny.io().cacheDir as string;
    const place = ['--runs-dir', runs.tiny.runsFolder, '--cache-dir', cacheDir];
    const exported = await cli(['attacker', 'export', 'first', '--out', runs.at('stopped'), ...place], stopped);
    const base = ['--name', 'stopped', '--base', runs.at('attacker')];
    const imported = await cli(['attacker', 'import', out, ...base, ...place], stopped);
    expect([exported.code, imported.code]).toEqual([130, 130]);
    expect(await readdir(runs.tiny.folder)).toEqual(names);
    expect(await readdir(runs.tiny.runsFolder)).not.toContain('stopped');
  });

  it.each(['export', 'import', 'list', 'rm'])('shows examples of %s', async (name) => {
    const { stdout, code } = await cli(['attacker', name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Examples:\n  floodgate attacker ${name}`);
  });
});
