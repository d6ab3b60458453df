import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FloodgateError } from '../../../src/base/errors.ts';
import { loadConfig, parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { gflownetSection } from '../../../src/stages/gflownet-section.ts';
import { loadTransferTargets } from '../../../src/studies/transfer/transfer-config.ts';
import { minimalConfigText } from '../minimal-config.ts';

const folder = '/configs';
const parse = (text: string, overrides: string[] = []) => parseConfig(text, { fileName: 'a.yaml', folder, overrides });

function messageOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof FloodgateError) return error.message;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('parseConfig', () => {
  it('fills in the defaults of the paper', () => {
    const config = parse(minimalConfigText);
    expect(config.gflownet).toMatchObject({
      objective: 'tb',
      batchSize: 16,
      accumulation: 8,
      learningRate: 1e-4,
    });
    expect(config.reward.beta).toBe(0.1);
    expect(config.reward.temperature).toEqual({ from: 2, to: 1, updates: 1000 });
    expect(gflownetSection.of(config).replay.nearDuplicate).toEqual({ kind: 'edit', threshold: 0.25 });
    expect(config.attacker).toMatchObject({ minTokens: 5, maxTokens: 20 });
    expect(config.attacker.lora).toMatchObject({ rank: 32, alpha: 16 });
    expect(config.evaluation).toMatchObject({ attacks: 1024, responses: 5, temperature: 1 });
    expect(config.collect).toEqual({ minUnsafe: 0.7, minLogPRef: -100 });
  });

  it('counts relative paths from the config file and leaves catalogue names alone', () => {
    const config = parse(minimalConfigText, ['attacker.model=./models/a', 'encoder.model=minilm']);
    expect(config.seeds.path).toBe('/configs/seeds.txt');
    expect(config.attacker.model).toBe('/configs/models/a');
    expect(config.encoder.model).toBe('minilm');
  });

  it('names the nearest key with its full path and its place', () => {
    const text = `${minimalConfigText}gflownet:\n  learningRat: 1\n  replay:\n    capcity: 5\n`;
    const message = messageOf(() => parse(text));
    const line = text.split('\n').indexOf('  learningRat: 1') + 1;
    expect(message).toContain(
      `gflownet.learningRat: unknown key, did you mean gflownet.learningRate? (line ${line}, column 3)`,
    );
    expect(message).toContain(
      `gflownet.replay.capcity: unknown key, did you mean gflownet.replay.capacity? (line ${line + 2}, column 5)`,
    );
  });

  it('finds a key that stands in the wrong section', () => {
    expect(messageOf(() => parse(`${minimalConfigText}beta: 0.2\n`))).toContain('did you mean reward.beta?');
  });

  it('knows what a key of version 0.1 is called now', () => {
    const message = messageOf(() =>
      parse(minimalConfigText, ['gflownet.temperature.from=1', 'gflownet.evaluation={}']),
    );
    expect(message).toContain('gflownet.temperature: unknown key, it is reward.temperature now');
    expect(message).toContain('gflownet.evaluation: unknown key, it is watch now');
  });

  it('knows a key of another kind of target', () => {
    expect(messageOf(() => parse(minimalConfigText, ['target.concurrency=16']))).toContain(
      'target.concurrency: unknown key, it belongs to another kind of target',
    );
  });

  it('lists what is possible when nothing is near', () => {
    expect(messageOf(() => parse(`${minimalConfigText}collect:\n  qqqqqqqqq: 1\n`))).toContain(
      'collect.qqqqqqqqq: unknown key, expected one of minUnsafe, minLogPRef',
    );
  });

  it('names value and expectation of a wrong type, at the value', () => {
    const text = `${minimalConfigText}sft:\n  updates: many\n  batchSize: 1.5\n`;
    const message = messageOf(() => parse(text));
    const line = text.split('\n').indexOf('  updates: many') + 1;
    expect(message).toContain(`sft.updates: got "many", expected a number (line ${line}, column 12)`);
    expect(message).toContain(`sft.batchSize: got 1.5, expected a whole number (line ${line + 1}, column 14)`);
  });

  it('says of which number a value must be a multiple', () => {
    expect(messageOf(() => parse('world: { keys: 50 }\n'))).toContain(
      'world.keys: got 50, expected a multiple of 24 (line 1, column 16)',
    );
  });

  it('reports every problem at once', () => {
    expect(messageOf(() => parse('seed: -1\nnmae: x\n'))).toMatch(/ \d+ problems:\n/);
    expect(messageOf(() => parse('{}'))).toContain('authorisation: missing, expected a text');
  });

  it('checks rules between keys', () => {
    const message = messageOf(() =>
      parse(minimalConfigText, ['gflownet.updates=50', 'attacker.minTokens=30', 'target.decode.temperature=0']),
    );
    expect(message).toContain('gflownet.warmupUpdates: got 100, expected at most gflownet.updates (50)');
    expect(message).toContain('attacker.minTokens: got 30, expected at most attacker.maxTokens (20)');
    expect(message).toContain('target.responses');
  });

  it('types the value of --set as YAML, and blames it', () => {
    const config = parse(minimalConfigText, ['gflownet.replay.rescore=true', 'attackers=[sft]', 'name=r1']);
    expect(gflownetSection.of(config).replay.rescore).toBe(true);
    expect(config.attackers).toEqual(['sft']);
    expect(messageOf(() => parse(minimalConfigText, ['reward.beta=high']))).toContain('(--set reward.beta=high)');
    expect(messageOf(() => parse(minimalConfigText, ['reward.bta=1']))).toContain('did you mean reward.beta?');
    expect(messageOf(() => parse(minimalConfigText, ['nonsense']))).toContain('expected the form a.b=value');
    expect(messageOf(() => parse(minimalConfigText, ['authorisation.deeper=1']))).toContain('cannot be applied');
  });

  it.each([
    ['gflownet.responses={first: 5}', 'gflownet.responses.most: got 5, expected more than first (5)'],
    ['gflownet.pipeline.depth=2', 'gflownet.pipeline.depth: got 2: only a target elsewhere answers while this process'],
    ['gflownet.pipeline.order=arrival', 'gflownet.pipeline.order: got arrival: only searches of workers arrive; set'],
    ['gflownet.pipeline.searches=workers', 'gflownet.pipeline.searches: got workers without a queue: set queue.url'],
    ['gflownet.replay.mix={clusters: 0.9}', 'gflownet.replay.mix.clusters: got 0.9 and failures 0.25, expected shares'],
    [
      'gflownet.replay={seedWithReference: 400, seedCandidates: 164}',
      'gflownet.replay.seedCandidates: got 164 for each of 400, expected at most 16384 draws that are compared by meaning',
    ],
  ])('refuses %s', (override, message) => {
    expect(messageOf(() => parse(minimalConfigText, [override]))).toContain(message);
  });

  it.each([
    ['gflownet.pipeline.depth=0', 'gflownet.pipeline.depth: got 0, workers search ahead: set depth at least 1'],
    ['gflownet.pipeline.depth=5', 'gflownet.pipeline.maxLag: got 4: depth and updatesPerBatch make batches 5 updates'],
    ['gflownet.updatesPerBatch=5', 'gflownet.pipeline.maxLag: got 4: depth and updatesPerBatch make batches 5 updates'],
  ])('refuses %s where workers search', (override, message) => {
    const searched = ['queue.url=redis://127.0.0.1:6379', 'gflownet.pipeline.searches=workers'];
    expect(() => parse(minimalConfigText, [...searched, 'gflownet.pipeline.order=arrival'])).not.toThrow();
    expect(() => parse(minimalConfigText, [searched[0] as string, 'gflownet.pipeline.depth=4'])).not.toThrow();
    expect(messageOf(() => parse(minimalConfigText, [...searched, override]))).toContain(message);
  });

  it('refuses further responses at temperature 0, where all are the same', () => {
    const greedy = ['target.decode.temperature=0', 'target.responses=1'];
    expect(() => parse(minimalConfigText, greedy)).not.toThrow();
    expect(messageOf(() => parse(minimalConfigText, [...greedy, 'gflownet.responses={first: 1}']))).toContain(
      'gflownet.responses.most: at temperature 0 every response is the same',
    );
  });

  it('takes adapters by name or all of them', () => {
    expect(parse(minimalConfigText).attacker.lora.targets).toBe('all-linear');
    const named = parse(minimalConfigText, ['attacker.lora.targets=[q_proj, v_proj]']);
    expect(named.attacker.lora.targets).toEqual(['q_proj', 'v_proj']);
    expect(messageOf(() => parse(minimalConfigText, ['attacker.lora.targets=7']))).toContain(
      'attacker.lora.targets: got 7, expected all-linear or a list of projection names',
    );
  });

  it('does not read a prototype key as a key', () => {
    expect(messageOf(() => parse(minimalConfigText, ['__proto__.polluted=1']))).toContain('unknown key');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it('reports YAML that is none, with its place', () => {
    expect(messageOf(() => parse('a: [1, 2\nb: 3'))).toMatch(/line 2, column/);
  });

  it('refuses an alias bomb', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
      .split('')
      .map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[i]}`).join(',')}]`)
      .join('\n')}`;
    expect(messageOf(() => parse(bomb))).toContain('alias');
  });

  it('answers any text with a config or a FloodgateError', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (text) => {
        try {
          parse(text);
        } catch (error) {
          expect(error).toBeInstanceOf(FloodgateError);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('attacker.cells', () => {
  const CELLS = 'attacker.cells=[{ name: cats }, { name: dogs, text: a dog }]';

  it('brings a meta-prompt that names the cell, unless the config has its own', () => {
    expect(parse(minimalConfigText, [CELLS]).attacker.metaPrompt).toContain('{cell}');
    const own = parse(minimalConfigText, [CELLS, 'attacker.metaPrompt=say {cell}']).attacker;
    expect(own.metaPrompt).toBe('say {cell}');
    expect(own.cells).toEqual([{ name: 'cats' }, { name: 'dogs', text: 'a dog' }]);
  });

  it('leaves a config without cells as it was, key by key', () => {
    const { attacker, seeds, gflownet } = parse(minimalConfigText);
    expect(Object.keys({ ...attacker, ...seeds, ...(gflownet as object) }).filter((key) => /cell/i.test(key))).toEqual(
      [],
    );
    expect(attacker.metaPrompt).not.toContain('{');
  });

  it.each([
    [
      [CELLS, 'attacker.metaPrompt=say it'],
      'attacker.metaPrompt: got {cell} 0 times, expected once beside attacker.cells',
    ],
    [[CELLS, 'attacker.metaPrompt="{cell} {cell}"'], 'got {cell} 2 times'],
    [['attacker.metaPrompt=say {cell}'], 'attacker.metaPrompt: got {cell} without attacker.cells'],
    [['attacker.cells=[{ name: cats }]'], 'attacker.cells: got [{"name":"cats"}], expected at least 2 entries'],
    [['attacker.cells=[{ name: cats }, { name: cats }]'], 'attacker.cells[1].name: got cats again'],
    [['attacker.cells=[{ name: "a\\tb" }, { name: c }]'], 'must be printable'],
    [['seeds.cellColumn=kind'], 'seeds.cellColumn: got kind, expected attacker.cells beside it'],
    [['gflownet.cells={ calls: equal }'], 'gflownet.cells: needs attacker.cells'],
    [[CELLS, 'world={}'], 'attacker.cells: a synthetic world has one prompt'],
  ])('refuses %s', (overrides, message) => {
    expect(messageOf(() => parse(minimalConfigText, overrides))).toContain(message);
  });
});

describe('loadConfig', () => {
  it('says what is wrong with a file that is missing, a folder, or no text', async () => {
    const place = mkdtempSync(join(tmpdir(), 'floodgate-config-'));
    await expect(loadConfig(join(place, 'none.yaml'))).rejects.toThrow(/cannot be read \(ENOENT\)/);
    await expect(loadConfig(place)).rejects.toThrow(/cannot be read \(EISDIR\)/);
    writeFileSync(join(place, 'binary.yaml'), Buffer.from([0xff, 0xfe, 0x00, 0x80]));
    await expect(loadConfig(join(place, 'binary.yaml'))).rejects.toThrow(/cannot be read/);
    writeFileSync(join(place, 'huge.yaml'), '#'.repeat(2 * 1024 * 1024));
    await expect(loadConfig(join(place, 'huge.yaml'))).rejects.toThrow(/too large/);
  });
});

describe('a hostile file', () => {
  it.each([
    ['lists in lists', `a: ${'['.repeat(100_000)}`],
    ['closed lists in lists', `a: ${'['.repeat(2_000)}${']'.repeat(2_000)}`],
    ['blocks in blocks', `${'- '.repeat(5_000)}a`],
    ['itself', 'attacker: &a [*a, *a]'],
    ['anchors', `a: ${'&a '.repeat(3_000)}1`],
    ['maps that end', `${'{a: '.repeat(200)}1${'}'.repeat(200)}`],
  ])('of %s is refused as nested too deep or malformed, not with a full stack', (_what, yaml) => {
    expect(() => parseConfig(yaml, { fileName: 'a.yaml', folder: '/' })).toThrow(
      expect.objectContaining({ code: 'config' }),
    );
  });

  it('of very many unknown keys is answered at once, with the first of them', () => {
    const yaml = Array.from({ length: 10_000 }, (_, i) => `unknown${i}: 1`).join('\n');
    const began = process.cpuUsage();
    expect(() => parseConfig(yaml, { fileName: 'a.yaml', folder: '/' })).toThrow(
      /unknown0: unknown key.*only the first/s,
    );
    expect(process.cpuUsage(began).user / 1000).toBeLessThan(2_000); // minutes, when every key is compared with every other
  });

  it('of very many short values is refused before any node is made', () => {
    const yaml = `a: [${'[],'.repeat(60_000)}1]`;
    expect(() => parseConfig(yaml, { fileName: 'a.yaml', folder: '/' })).toThrow(/more than 100000 keys, values/);
  });

  it('is not made by an override with a huge index', () => {
    const overrides = ['judges.evaluation.99999999.kind=profanity'];
    expect(() => parseConfig('seed: 1', { fileName: 'a.yaml', folder: '/', overrides })).toThrow(
      /got index 99999999, expected at most 999/,
    );
  });

  it('that names a key twice is told where', () => {
    const yaml = 'seed: 1\nattacker:\n  model: a\n  model: b\n';
    expect(() => parseConfig(yaml, { fileName: 'a.yaml', folder: '/' })).toThrow(
      /got model again \(line 4, column 3\)/,
    );
  });
});

describe('the examples', () => {
  const examples = join(import.meta.dirname, '../../../examples');
  const TARGETS = 'transfer-targets.yaml';
  const configs = readdirSync(examples).filter((name) => name.endsWith('.yaml') && name !== TARGETS);

  it.each(configs)('%s is a config that is accepted, and names its run', async (name) => {
    const { attackers, name: run } = await loadConfig(join(examples, name));
    expect(attackers.length).toBeGreaterThan(0);
    expect(run).toBe(name.replace('.yaml', ''));
  });

  it('hold targets to transfer to, each of another name', async () => {
    const file = join(examples, TARGETS);
    const targets = await loadTransferTargets([file]);
    expect(targets.length).toBeGreaterThan(5);
    expect(new Set(targets.map(({ name }) => name)).size).toBe(targets.length);
  });
});
